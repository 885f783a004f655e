"""`Run`: one run of dispatching, in whatever task or process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import uuid4

from ..deliveries.recording import Dispatched

__all__ = ["RUN_SECONDS", "Run"]

#: No report is begun with later in a run: one that handlers have made slow leaves the rest to another task. Less than
#: half of a task's time limit, so that each report has the other half at least.
RUN_SECONDS = 120


def _new_claim() -> str:
    return str(uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of dispatching. Its claim is no other's: neither a redelivered task's nor another process's.

    `after` is the claim of the run that has left these reports to this one, `tries` how often that was for an error.
    With `hands_over` what cannot be dispatched now is left to a dispatch task; else it is raised.

    `unmarked` is what the run has dispatched and could neither note nor hand over, for store and broker were away: the
    next run has to note it first (see `Dispatcher.mark`). `begun_at` is by `time.monotonic`.
    """

    claim: str = field(default_factory=_new_claim)
    after: str | None = None
    tries: int = 0
    hands_over: bool = True
    unmarked: list[Dispatched] = field(default_factory=list)
    begun_at: float = field(default_factory=time.monotonic)
