"""`Tally`: what came of a look at mails that the proxy has not reported on."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many mails were looked at, and what became of each: it stands in one of the other numbers.

    `sent` and `error`: the proxy knew. `expired`: taken out of its queue. `resubmitted`: it had lost them, and has them
    again. `unknown`: it had lost them, and they are given up. `open`: they still wait there. `unanswered`: it could not
    be asked, or did not say.
    """

    looked_at: int = 0
    sent: int = 0
    error: int = 0
    expired: int = 0
    resubmitted: int = 0
    unknown: int = 0
    open: int = 0
    unanswered: int = 0

    def __add__(self, other: Tally) -> Tally:
        mine, theirs = asdict(self), asdict(other)
        return Tally(**{name: number + theirs[name] for name, number in mine.items()})
