"""How long it takes to recover from a fault, as a pure function of the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .evidence import Evidence
from .load import Item

__all__ = ["Recovery", "recoveries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What all faults of a kind came to; times in seconds from a fault's end on, each the longest of that kind.

    `flows_after`: until the end of the first mail that was accepted after the fault's end is dispatched.
    `caught_up_after`: until all mails accepted by the fault's end have ended. As faults overlap, other faults have
    their part in it. None where no such mail was.
    """

    kind: str
    number: int
    flows_after: float | None
    caught_up_after: float | None


def recoveries(items: Sequence[Item], evidence: Evidence) -> list[Recovery]:
    """For each kind of fault that happened, in the order of the names."""
    lives = _lives(items, evidence)
    found = []
    for kind in sorted({kind for kind, _, _ in evidence.faults}):
        ends = [ended for each, _, ended in evidence.faults if each == kind]
        found.append(
            Recovery(
                kind=kind,
                number=len(ends),
                flows_after=_longest(_flows_after(lives, ended) for ended in ends),
                caught_up_after=_longest(_caught_up_after(lives, ended) for ended in ends),
            )
        )
    return found


def _lives(items: Sequence[Item], evidence: Evidence) -> list[tuple[float, float]]:
    """When each mail was accepted, and when its end was dispatched; of those for which both happened."""
    by_number = {number: message_id for message_id, number in evidence.numbers.items()}
    lives = []
    for item in items:
        accepted = evidence.accepted.get(item.number)
        for mail in item.mails if accepted is not None else ():
            runs = evidence.handled.get((by_number.get(mail.number, ""), f"mail_{mail.ends_as}"), ())
            ends = [run.ended_at for run in runs if run.ended_at is not None]
            if ends and accepted is not None:
                lives.append((accepted, min(ends)))
    return lives


def _flows_after(lives: Sequence[tuple[float, float]], ended: float) -> float | None:
    return min((told - ended for accepted, told in lives if accepted >= ended), default=None)


def _caught_up_after(lives: Sequence[tuple[float, float]], ended: float) -> float | None:
    return max((max(0.0, told - ended) for accepted, told in lives if accepted < ended), default=None)


def _longest(seconds: Iterable[float | None]) -> float | None:
    return max((each for each in seconds if each is not None), default=None)
