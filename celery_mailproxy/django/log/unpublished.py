"""Mails that the broker did not take: they end as `error` in the log, where they are seen and can be sent again."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ...deliveries.delivery import Status
from ...deliveries.report import DeliveryReport, Kind, utcnow
from ...deliveries.stores.base import Recording
from ...runtime import Runtime
from .models import EmailLog

__all__ = ["end_unpublished", "is_unpublished"]

logger = logging.getLogger(__name__)

_REASON = "not published: the broker did not take it"


def end_unpublished(task_ids: Mapping[str, str], problem: Exception, *, runtime: Runtime) -> None:
    """End these mails of the log, and let their kept contents be deleted. Never raises.

    `task_ids` are those of the tasks that were not published, by the ids of their mails. Callbacks, signals and events
    are not dispatched: they need the broker that is down, and the caller gets its error.
    """
    reason = f"{_REASON} ({type(problem).__name__})"
    try:
        kept = runtime.store.get_many(list(task_ids))
        # An id that was sent before is of that task. And what a worker has after all, where only the broker's answer
        # was lost, is that worker's to end.
        mine = [one for one in kept if one is not None and one.task_id == task_ids[one.message_id]]
        left = [one.message_id for one in mine if not one.is_known]
        reports = [DeliveryReport(kind=Kind.ERROR, message_id=each, at=utcnow(), reason=reason) for each in left]
        runtime.store.record(reports, claim="", how=Recording(is_settled=True, only_new=True))
    except Exception as exc:
        # The caller gets the broker's error. Not this one's text: it may quote a row.
        logger.error("%d emails were not published, and could not be ended: %s", len(task_ids), type(exc).__name__)


def is_unpublished(log: EmailLog) -> bool:
    """Whether the mail ended by `end_unpublished`, so that its id is free for another try."""
    return log.status == Status.ERROR.value and log.error_message.startswith(_REASON)
