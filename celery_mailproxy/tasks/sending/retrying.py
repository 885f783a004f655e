"""When and how often a task that sends mail is tried again."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from typing import Any

from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError

from ...errors import ConfigurationError, ProxyUnavailable, StoreError
from ...runtime import Runtime, get_runtime
from .submitter import submitter_of

__all__ = ["DURABLE", "RETRYABLE", "TIME_LIMITS", "retries_left", "retry_in", "retry_later", "retry_or_give_up"]

logger = logging.getLogger(__name__)

#: What passes by itself, or by a restart with the right settings; the mail waits for it, however long it takes.
RETRYABLE = (StoreError, OperationalError, ConfigurationError, SoftTimeLimitExceeded)

#: A worker that dies leaves its task to be run again: with one id for the mail, twice run is once sent.
DURABLE: Mapping[str, Any] = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None}

#: Above what a call to the proxy can take. A shorter `task_time_limit` of the app's would kill mails on their way.
TIME_LIMITS: Mapping[str, Any] = {"soft_time_limit": 300, "time_limit": 330}

#: How long a task waits for settings that make sense.
_MISCONFIGURED_SECONDS = 60


def retries_left(task: Any, runtime: Runtime, *, has_own_limit: bool = True) -> bool:
    """Whether the task may be tried again while the proxy cannot be reached.

    Its own `max_retries` counts, too, if `has_own_limit`.
    """
    # Called directly or eagerly nobody would wait between the tries.
    is_in_worker = not (task.request.called_directly or task.request.is_eager)
    limit = runtime.settings.max_retries
    if has_own_limit and task.max_retries is not None:
        # A task of the user's own: its last try must end the delivery, and not only raise.
        limit = min(limit, task.max_retries)
    return is_in_worker and task.request.retries < limit


def retry_later(task: Any, exc: Exception, **options: Any) -> Exception:
    """The exception to raise so that the task runs again later, under the same id; options are `Task.retry`'s."""
    if task.request.called_directly or task.request.is_eager:
        return exc
    if isinstance(exc, ConfigurationError):
        logger.error("mail waits for a worker with the right settings: %s", exc)
        countdown: float = _MISCONFIGURED_SECONDS
    else:
        maximum = get_runtime(task.app).settings.retry_max_seconds
        # Never at once: Celery stores the state RETRY after it has published the retry, whose own states (the final one
        # in the end) would be overwritten by it, or mixed up with it in a database.
        jittered = get_exponential_backoff_interval(1, min(task.request.retries, 30), maximum, full_jitter=True)
        countdown = max(1, jittered)
    if isinstance(exc, ProxyUnavailable) and exc.retry_after_seconds is not None:
        # Whole seconds: Celery's native delayed delivery refuses less than one.
        countdown = max(countdown, math.ceil(exc.retry_after_seconds))
    return retry_in(task, exc, countdown, **options)


def retry_in(task: Any, exc: Exception, countdown: float, **options: Any) -> Exception:
    """The exception to raise so that the task runs again after so many seconds, whatever its own limit of retries."""
    try:
        # Whether to retry has been decided: `task.retry` would raise at the task's own limit, with nothing ended.
        retry: Exception = task.retry(exc=exc, countdown=countdown, throw=False, max_retries=sys.maxsize, **options)
        return retry
    except Reject as rejected:
        # The retry could not be published. Celery would drop the message: the broker is to keep it instead.
        kept: Exception = Reject(rejected.reason, requeue=True)
        return kept


def retry_or_give_up(
    task: Any, runtime: Runtime, unsettled: Mapping[str, ProxyUnavailable], *, task_id: str
) -> list[str]:
    """Raise the retry of what is unsettled; with none left, end it: the ids of those messages that have ended so."""
    unavailable = next(iter(unsettled.values()))
    if retries_left(task, runtime):
        # With the same arguments: the store knows which messages need no second submission.
        raise retry_later(task, unavailable) from unavailable
    return submitter_of(runtime).give_up(unsettled, f"given up: {unavailable}", task_id=task_id)
