"""What can be seen of a migration: mails by way and outcome, shares, breakers. `backlog` has what is still queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from celery import Celery

from ..deliveries.report import Kind, utcnow
from ..dispatch.counters import counters_of
from ..runtime import Runtime
from .backlog import migrated_tasks
from .breaker import BreakerState, breaker_value
from .routing import LEGACY, PROXY

__all__ = ["PERIODS", "Outcomes", "breaker_states", "outcomes", "own_shares", "period_counts"]

PERIODS: Mapping[str, timedelta] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """How many mails of one transport met which outcome. `error` counts refusals by the proxy, too."""

    sent: int = 0
    error: int = 0
    deferred: int = 0

    @property
    def error_rate(self) -> float | None:
        """Errors among the mails that have ended; None where none has."""
        ended = self.sent + self.error
        return self.error / ended if ended else None


def outcomes(counts: Mapping[str, int]) -> dict[str, Outcomes]:
    """Way → outcomes, of what `Counters.since` gives."""
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
    return {name: counters_of(runtime).since(now - length) for name, length in PERIODS.items()}


def breaker_states(runtime: Runtime) -> dict[str, BreakerState]:
    """The state of each proxy's breaker. Raises `StoreError`."""
    names = runtime.settings.server_names()
    return {name: BreakerState.load(runtime.store.get_value(breaker_value(name))) for name in names}


def own_shares(app: Celery) -> dict[str, float]:
    """Task → the share that `migrate` was given for it; it holds while operators have set none."""
    shares = {name: getattr(task.run, "share", None) for name, task in migrated_tasks(app).items()}
    return {name: share for name, share in shares.items() if share is not None}
