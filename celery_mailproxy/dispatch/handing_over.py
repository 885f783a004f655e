"""`HandOver`: what a run of dispatching could not do itself becomes a dispatch task of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from celery import Celery
from kombu.exceptions import OperationalError

from ..deliveries.recording import CLAIM_SECONDS, LET_GO_SECONDS, Dispatched, Recorded
from ..deliveries.report import DeliveryReport, utcnow
from ..deliveries.stores.base import DeliveryStore, Recording
from ..errors import DispatchError, StoreError, redact
from .postponing import Postponer
from .run import RUN_SECONDS, Run

__all__ = ["HandOver", "Left"]

logger = logging.getLogger(__name__)

#: How long at most until a report is looked at again that another run is dispatching.
_HELD_SECONDS = 60.0

#: How long at most until a report is tried again that met an unforeseen error.
_FAILED_SECONDS = 300.0

#: How soon a run is marked whose store was away.
_MARK_SECONDS = 1.0

#: How long a run goes on trying where neither the store nor the broker takes the note of what it has dispatched.
_PATIENCE_SECONDS = 60.0

#: The same where it runs in a request.
_BRIEF_SECONDS = 5.0

#: The pause between two of its tries: short, for another run may begin with the report once the store is back.
_BREATH_SECONDS = 0.5

#: No longer than so in all: the hard limit of a dispatch task is a bit later (`tasks.DISPATCH_TIME_LIMITS`).
_LONGEST_RUN_SECONDS = RUN_SECONDS + 195.0


@dataclass(slots=True, kw_only=True)
class Left:
    """What a run has left: `problem` is the last error that was the reason."""

    held: list[Recorded] = field(default_factory=list)  #: another run is dispatching these
    apart: list[DeliveryReport] = field(default_factory=list)  #: each is to have a task of its own
    rest: list[DeliveryReport] = field(default_factory=list)  #: there was no time left for these
    failed: list[DeliveryReport] = field(default_factory=list)  #: these met an unforeseen error
    unmarked: list[Dispatched] = field(default_factory=list)  #: dispatched, but the store could not be told
    problem: Exception | None = None

    @property
    def is_but_unmarked(self) -> bool:
        """Whether nothing else is left."""
        return not (self.held or self.apart or self.rest or self.failed)

    def __bool__(self) -> bool:
        return bool(self.held or self.apart or self.rest or self.failed or self.unmarked or self.problem)


class HandOver:
    """Leaves what is left to dispatch tasks. Without a `postponer`, and in Celery's eager mode, it can only raise."""

    def __init__(
        self,
        *,
        app: Celery,
        store: DeliveryStore,
        postponer: Postponer | None,
        claim_seconds: float = CLAIM_SECONDS,
    ) -> None:
        self._app = app
        self._store = store
        self._postponer = postponer
        self._claim_seconds = claim_seconds

    def is_possible_for(self, run: Run) -> bool:
        """Whether what the run leaves can go to a task: Celery's eager mode has nobody to come back later."""
        return run.hands_over and self._can_publish

    @property
    def _can_publish(self) -> bool:
        return self._postponer is not None and not self._app.conf.task_always_eager

    def leave(self, left: Left, run: Run) -> None:
        """Publish a task for what is left. Raises `DispatchError` where there can be none, and `OperationalError`.

        Where store and broker are away it waits for one of the two, for a minute at most: see `Run.unmarked`.
        """
        rest = left.rest
        if left.unmarked:
            is_marked = self._note(left, run)
            if is_marked and left.is_but_unmarked:
                return
            rest = rest if is_marked else []
        postponer = self._postponer
        if postponer is None or not self.is_possible_for(run):
            raise DispatchError("some reports were not dispatched, and have to come again") from left.problem
        claim = run.claim
        if rest:
            postponer.postpone(rest, after=claim, countdown=0.0)
        for report in left.apart:
            postponer.postpone([report], after=claim)
        if left.failed:
            countdown = min(_FAILED_SECONDS, 2.0 ** min(run.tries, 10))
            self._hold(left.failed, claim, countdown)
            postponer.postpone(left.failed, after=claim, countdown=countdown, tries=run.tries + 1)
        if left.held:
            postponer.postpone([each.report for each in left.held], countdown=self._seconds_held(left.held))

    def _note(self, left: Left, run: Run) -> bool:
        """Have what was dispatched marked: by a task, which gets the rest as well, or else here; whether it was here.

        The handlers have run, and would run once more if nobody knew.
        """
        run.unmarked.extend(left.unmarked)
        deadline = self._deadline(run)
        is_logged = False
        while True:
            try:
                self._postpone_note(left, run)
                is_marked = False
                break
            except (DispatchError, OperationalError) as exc:
                problem = exc
            try:
                self._store.mark_dispatched(left.unmarked)
                is_marked = True
                break
            except StoreError as exc:
                if time.monotonic() >= deadline:
                    raise problem from exc
            if not is_logged:
                logger.warning(
                    "reports were dispatched, and neither store nor broker takes note of it: %s", redact(str(problem))
                )
            is_logged = True
            time.sleep(_BREATH_SECONDS)
        run.unmarked.clear()
        return is_marked

    def _postpone_note(self, left: Left, run: Run) -> None:
        if self._postponer is None or not self._can_publish:
            raise DispatchError("reports were dispatched, and that could not be noted")
        if run.hands_over:
            # One task, for it has to mark before it goes on.
            self._postponer.postpone(left.rest, after=run.claim, dispatched=left.unmarked, countdown=_MARK_SECONDS)
        else:
            # A note only, which any worker can take.
            self._postponer.postpone([], dispatched=left.unmarked, countdown=_MARK_SECONDS)

    def _deadline(self, run: Run) -> float:
        """How long the run goes on trying to have that noted, by `time.monotonic`."""
        now = time.monotonic()
        if not self._can_publish:
            # Nobody is to wait in the caller's process.
            return now
        if not run.hands_over:
            # Somebody waits for the answer to a request.
            return now + _BRIEF_SECONDS
        return min(now + _PATIENCE_SECONDS, run.begun_at + _LONGEST_RUN_SECONDS)

    def let_go(self, reports: Sequence[DeliveryReport], run: Run, left: Left) -> None:
        """Give up the claims on these reports, but not on what has been dispatched: the next one gets them at once."""
        unmarked = {(each.message_id, each.key) for each in left.unmarked}
        undone = [report for report in reports if (report.message_id, report.key) not in unmarked]
        self._hold(undone, run.claim, LET_GO_SECONDS)

    def _seconds_held(self, held: Sequence[Recorded]) -> float:
        """How long until the claims on these are stale, unless they are renewed."""
        left = [(at - utcnow()).total_seconds() + self._claim_seconds for each in held if (at := _claimed_at(each))]
        return min(_HELD_SECONDS, max(1.0, *left, 1.0))

    def _hold(self, reports: Sequence[DeliveryReport], claim: str, seconds: float) -> None:
        # Where the store is away, the claims hold as long as they would anyway.
        with suppress(StoreError):
            self._store.record(reports, claim=claim, how=Recording(hold_seconds=seconds))


def _claimed_at(recorded: Recorded) -> datetime | None:
    history = recorded.delivery.history if recorded.delivery is not None else ()
    return next((entry.claimed_at for entry in history if entry.report.key == recorded.report.key), None)
