"""What can be seen of a migration: mails by way and outcome, the share, the breakers, and what still lies in queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from celery import Celery

from ..reports import Kind, utcnow
from ..runtime import Runtime
from .breaker import BreakerState, breaker_value
from .routing import LEGACY, PROXY

__all__ = ["PERIODS", "Outcomes", "breaker_states", "outcomes", "period_counts", "queue_length"]

PERIODS: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How many mails of one way met which outcome. `error` counts refusals by the proxy, too."""

    sent: int = 0
    error: int = 0
    deferred: int = 0

    @property
    def error_rate(self) -> float | None:
        """Errors among the mails that have ended; None where none has."""
        ended = self.sent + self.error
        return self.error / ended if ended else None


def outcomes(counts: Mapping[str, int]) -> dict[str, Outcomes]:
    """Way → outcomes, of what `Tally.since` gives."""
    return {
        way: Outcomes(
            sent=counts.get(f"{way}/{Kind.SENT}", 0),
            error=counts.get(f"{way}/{Kind.ERROR}", 0) + counts.get(f"{way}/{Kind.REJECTED}", 0),
            deferred=counts.get(f"{way}/{Kind.DEFERRED}", 0),
        )
        for way in (PROXY, LEGACY)
    }


def period_counts(runtime: Runtime) -> dict[str, dict[str, int]]:
    """Period → what was counted in it. Raises `StoreError`."""
    now = utcnow()
    return {name: runtime.tally.since(now - length) for name, length in PERIODS.items()}


def breaker_states(runtime: Runtime) -> dict[str, BreakerState]:
    """The state of each proxy's breaker. Raises `StoreError`."""
    names = runtime.settings.server_names()
    return {name: BreakerState.load(runtime.store.get_value(breaker_value(name))) for name in names}


def queue_length(app: Celery, queue: str) -> int:
    """How many messages wait in a queue; 0 where there is none. Raises what kombu raises without a broker."""
    with app.connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
        channel: Any = connection.default_channel
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except connection.channel_errors:
            return 0
