"""Nothing of ours that fails sets off another mail: it would fail in the same way, and set off the next.

An application may mail tracebacks on Celery's `task_failure`, or what is logged as an error, and send these mails by
our tasks. With the proxy away each of them then makes another one. So a mail is passed over that is sent while Celery
handles the failure or the retry of a task of ours, or by a handler of a log record that says something of one.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Any

from celery import current_task

__all__ = ["is_set_off_by_failure", "note_failure"]

logger = logging.getLogger(__name__)

#: In the request of a task of ours whose run has failed, or is to be repeated.
_FAILED = "mail_proxy_failed"

#: How the names begin of our tasks and of our loggers.
_OURS = "celery_mailproxy."

_CALL_HANDLERS = logging.Logger.callHandlers.__code__


def note_failure(task: Any) -> None:
    """Note that the task's run has failed. What follows until its end is handlers of Celery's signals, and the log."""
    task.request.update({_FAILED: True})


def is_set_off_by_failure() -> bool:
    """Whether a mail that is being sent here and now is to be passed over. The log says so."""
    if _is_set_off_by_log():
        # Whoever mails what is logged would mail this line, too.
        return True
    if not current_task or not current_task.request.get(_FAILED):
        return False
    logger.warning(
        "an email is not sent: the failure of task %s[%s] has set it off, and it might fail in the same way",
        current_task.name,
        current_task.request.id,
    )
    return True


def _is_set_off_by_log() -> bool:
    """Whether a handler of a log record of ours is being called."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is _CALL_HANDLERS and _is_ours(frame.f_locals.get("record")):
            return True
        frame = frame.f_back
    return False


def _is_ours(record: Any) -> bool:
    """Whether we have logged it, or Celery has of a task of ours."""
    data = getattr(record, "data", None)
    task_name = data.get("name") if isinstance(data, dict) else None
    return str(getattr(record, "name", "")).startswith(_OURS) or str(task_name).startswith(_OURS)
