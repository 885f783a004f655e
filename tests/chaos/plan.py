"""The plan: which fault happens when, as a pure function of a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["Fault", "FaultKind", "make_plan"]


class FaultKind(str, Enum):
    """What can be done to an installation. The value is its name in the report."""

    POOL_KILLED = "pool process killed"
    WORKER_KILLED = "worker killed"
    WORKER_PARENT_KILLED = "worker's main process killed"
    RECEIVER_KILLED = "receiver killed"
    CALLER_KILLED = "caller killed"
    BROKER_KILLED = "broker killed"
    STORE_KILLED = "store killed"
    DATABASE_KILLED = "database killed"
    PROXY_KILLED = "proxy killed"
    BROKER_CUT = "broker's connections cut"
    STORE_CUT = "store's connections cut"
    DATABASE_CUT = "database's connections cut"
    PROXY_CUT = "proxy's answers cut off"
    BROKER_SILENT = "broker silent, then cut"
    STORE_SILENT = "store silent"
    DATABASE_SILENT = "database silent"
    PROXY_SILENT = "proxy silent"
    REPORTS_DROPPED = "reports dropped"
    REPORTS_UNANSWERED = "reports unanswered"
    REPORTS_DOUBLED = "reports doubled"
    REPORTS_REORDERED = "reports reordered"
    REPORTS_DELAYED = "reports delayed"
    STORE_FULL = "store full"
    STORE_SLOW = "store slow"
    DATABASE_SLOW = "database slow"

    def __str__(self) -> str:
        return self.value

    @property
    def target(self) -> str:
        """What it happens to. One target has one fault at a time."""
        return _TARGETS.get(self) or self.name.partition("_")[0].lower()


#: Where the first word of the kind's name does not say it.
_TARGETS = {FaultKind.POOL_KILLED: "worker"}

#: How long each lasts, in seconds: from a blink to what a restart takes on a slow machine.
_SHORTEST, _LONGEST = 0.2, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. `at` counts from the beginning of the load, `seconds` is how long it lasts or the part stays down.

    `choice`, from 0 to 1, says which of several it hits.
    """

    number: int
    at: float
    kind: FaultKind
    seconds: float
    choice: float

    @property
    def until(self) -> float:
        return self.at + self.seconds


def make_plan(
    seed: int, *, seconds: float, kinds: Sequence[FaultKind] = tuple(FaultKind), gap_seconds: float = 3.0
) -> tuple[Fault, ...]:
    """Faults in the order of time, `gap_seconds` apart on average: every kind as often as any other, give or take one.

    Faults overlap, but never two of one target.
    """
    dice = random.Random(f"plan {seed}")
    moments = _moments(dice, seconds=seconds, gap_seconds=gap_seconds)
    waiting: list[FaultKind] = []
    busy_until: dict[str, float] = {}
    faults: list[Fault] = []
    for at in moments:
        if len(waiting) < len({kind.target for kind in kinds}):
            waiting += dice.sample(list(kinds), len(kinds))
        kind = next((each for each in waiting if busy_until.get(each.target, 0.0) <= at), None)
        if kind is None:
            continue
        waiting.remove(kind)
        fault = Fault(
            number=len(faults),
            at=at,
            kind=kind,
            seconds=round(dice.uniform(_SHORTEST, _LONGEST), 2),
            choice=dice.random(),
        )
        busy_until[kind.target] = fault.until
        faults.append(fault)
    return tuple(faults)


def _moments(dice: random.Random, *, seconds: float, gap_seconds: float) -> Iterator[float]:
    """The first after a gap: some mails are on their way by then. The last fault ends with the load."""
    at = gap_seconds
    while at < seconds - _LONGEST:
        yield round(at, 2)
        at += dice.uniform(0.2, 1.8) * gap_seconds
