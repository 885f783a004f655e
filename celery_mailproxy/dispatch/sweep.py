"""`sweep`: finds reports that were recorded and never dispatched, because what was to do it is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ..deliveries.delivery import undispatched_entries
from ..deliveries.recording import CLAIM_SECONDS, Verdict
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import Recording
from ..errors import visible
from ..runtime import Runtime
from .keeping import HOLD_SECONDS
from .postponing import postponer_of
from .run import Run

__all__ = ["PATIENCE", "PAUSE_SECONDS", "sweep"]

logger = logging.getLogger(__name__)

#: How long a claim has to be silent before the sweep looks at it: whoever waits for it to become stale comes first.
#: With a round of the maintenance, the change of its leader and the pause below, it is less than a minute.
PATIENCE = timedelta(seconds=CLAIM_SECONDS + 5)

#: Whoever gets a report from the sweep does not begin at once: a run whose store was away may be about to note that it
#: has dispatched it.
PAUSE_SECONDS = 5.0

#: How many reports are handed over before `go_on` is asked.
_AT_ONCE = 100

#: How many times `limit` is looked through at most for reports that are for a task.
_LOOKED_THROUGH = 16


def sweep(runtime: Runtime, *, now: datetime, limit: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Hand reports to dispatch tasks whose run is gone, of up to `limit` deliveries; how many reports.

    A run is gone where its process was killed, or met a hard time limit, and the broker has not given its task back: on
    Redis it does so after an hour only, and after a time limit never. Safe to run at any time and in any number: of
    several sweeps one takes a report over. Between two portions `go_on` says whether there is time for the next. Raises
    `StoreError` and kombu's `OperationalError`; what is left over then is found by a later sweep.
    """
    reports = _left_over(runtime, before=now - PATIENCE, limit=limit)
    number = 0
    for start in range(0, len(reports), _AT_ONCE):
        if start and not go_on():
            break
        number += _take_over(runtime, reports[start : start + _AT_ONCE])
    return number


def _left_over(runtime: Runtime, *, before: datetime, limit: int) -> list[DeliveryReport]:
    """The reports, of up to `limit` deliveries, that a task may dispatch."""
    asked = limit
    while True:
        found = runtime.store.undispatched(before=before, limit=asked)
        reports = [
            [each.report for each in undispatched_entries(one, before=before) if _is_for_a_task(runtime, each.report)]
            for one in found
        ]
        of_each = [each for each in reports if each][:limit]
        # What is not for a task must not hide what is.
        if len(of_each) == limit or len(found) < asked or asked >= limit * _LOOKED_THROUGH:
            return [report for each in of_each for report in each]
        asked *= 2


def _take_over(runtime: Runtime, reports: Sequence[DeliveryReport]) -> int:
    run = Run()
    taken = runtime.store.record(reports, claim=run.claim, how=Recording(hold_seconds=HOLD_SECONDS))
    swept = [each.report for each in taken if each.verdict is Verdict.AGAIN]
    for report in swept:
        logger.warning(
            "message %s: nobody has dispatched its %s report, so it is now", visible(report.message_id), report.kind
        )
        # Each by itself, for what one died with may be in it.
        postponer_of(runtime).postpone([report], after=run.claim, countdown=PAUSE_SECONDS)
    return len(swept)


def _is_for_a_task(runtime: Runtime, report: DeliveryReport) -> bool:
    """Whether a dispatch task may dispatch the report.

    With `mail_proxy_dispatch = "inline"` handlers may be connected in the receiving processes only. What the proxy
    reports is safe without us there: it gets 200 for what has been dispatched, and repeats all else.
    """
    return runtime.settings.dispatch == "worker" or not report.raw
