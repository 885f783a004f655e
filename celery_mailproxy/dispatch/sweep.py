"""`sweep`: finds reports that were recorded and never dispatched, because what was to do it is gone."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from ..deliveries.delivery import undispatched_entries
from ..deliveries.recording import CLAIM_SECONDS, Verdict
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import Recording
from ..errors import visible
from ..runtime import Runtime
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

#: How long the sweep leaves alone what it has handed to a task.
_HOLD_SECONDS = 300.0


def sweep(runtime: Runtime, *, now: datetime, limit: int) -> int:
    """Hand reports to dispatch tasks whose run is gone, of up to `limit` deliveries; how many reports.

    A run is gone where its process was killed, or met a hard time limit, and the broker has not given its task back: on
    Redis it does so after an hour only, and after a time limit never. Safe to run at any time and in any number: of
    several sweeps one takes a report over. Raises `StoreError` and kombu's `OperationalError`; what is left over then
    is found by a later sweep.
    """
    before = now - PATIENCE
    reports = [
        entry.report
        for delivery in runtime.store.undispatched(before=before, limit=limit)
        for entry in undispatched_entries(delivery, before=before)
        if _is_for_a_task(runtime, entry.report)
    ]
    if not reports:
        return 0
    run = Run()
    taken = runtime.store.record(reports, claim=run.claim, how=Recording(hold_seconds=_HOLD_SECONDS))
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
