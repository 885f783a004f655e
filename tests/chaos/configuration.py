"""Which parts a run has, and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .plan import FaultKind

__all__ = ["API", "CONFIGURATIONS", "VISIBILITY_SECONDS", "Broker", "Configuration"]

Broker = Literal["redis", "rabbitmq"]
API = Literal["commands", "entities"]

#: After so many seconds Redis gives a dead worker's tasks out again.
VISIBILITY_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One run. The same one has the same load and the same plan.

    With Redis as the broker deliveries are in Redis, too, in a server that also keeps the results; with RabbitMQ they
    are in SQLite, on a small disk of their own, and Redis keeps the results alone.
    """

    broker: Broker
    api: API
    seed: int
    mails: int = 2000
    #: How long mails are sent and faults done.
    seconds: float = 300.0
    #: How long it is waited for what is still to come while nothing moves, and in all: on a busy machine it comes late.
    patience_seconds: float = 180.0
    longest_seconds: float = 1500.0
    gap_seconds: float = 3.0

    @property
    def name(self) -> str:
        return f"{self.broker}-{self.api}-{self.seed}"

    @property
    def quiet_seconds(self) -> float:
        """Nothing may happen so long before it is over: a task given out again would come within this time."""
        return VISIBILITY_SECONDS + 10.0 if self.broker == "redis" else 10.0

    @property
    def has_sqlite(self) -> bool:
        return self.broker == "rabbitmq"

    def kinds(self, *, can_fill: bool) -> tuple[FaultKind, ...]:
        """The faults that this configuration can have."""
        # The results are in a Redis with either broker; SQLite's file has no connections of its own.
        left_out = {FaultKind.STORE_FULL} if not can_fill else set()
        return tuple(kind for kind in FaultKind if kind not in left_out)


CONFIGURATIONS: tuple[tuple[Broker, API], ...] = (
    ("redis", "commands"),
    ("redis", "entities"),
    ("rabbitmq", "commands"),
    ("rabbitmq", "entities"),
)
