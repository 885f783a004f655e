"""When and how often a task that sends mail is tried again."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from celery.exceptions import Reject
from celery.utils.time import get_exponential_backoff_interval

from ...broker.quorum_queues import waiting_options
from ...errors import ConfigurationError, ProxyUnavailable, UnforeseenError, redact
from ...runtime import Runtime, get_runtime
from .callbacks import Callbacks
from .submitter import submitter_of
from .unforeseen import RETRYABLE

__all__ = [
    "DURABLE",
    "MISCONFIGURED_SECONDS",
    "RETRYABLE",
    "TIME_LIMITS",
    "lasts",
    "out_of_tries",
    "reason_to_retry",
    "retries_left",
    "retry_in",
    "retry_later",
    "retry_or_give_up",
]

logger = logging.getLogger(__name__)

#: A worker that dies leaves its task to be run again: with one id for the mail, twice run is once sent.
DURABLE: Mapping[str, Any] = {"acks_late": True, "reject_on_worker_lost": True, "max_retries": None}

#: Above what a call to the proxy can take. A shorter `task_time_limit` of the app's would kill mails on their way.
TIME_LIMITS: Mapping[str, Any] = {"soft_time_limit": 300, "time_limit": 330}

#: The header that counts those of a message's retries that are not held against its budget.
_WAITS_HEADER = "mail_proxy_waits"

#: How long a task is held whose retry the broker does not take.
_REJECT_PAUSE_SECONDS = 1.0

#: How long a task waits for settings that make sense.
MISCONFIGURED_SECONDS = 60

#: How often the log says so.
_LOG_SECONDS = 60.0

Unsettled = Mapping[str, ProxyUnavailable | UnforeseenError]


def retries_left(task: Any, runtime: Runtime, *, has_own_limit: bool = True) -> bool:
    """Whether the task may be tried again for what passes by itself, such as a proxy that cannot be reached.

    A retry counts only where that was its reason: a mail that has waited for days for the right token has all of its
    tries left. Its own `max_retries` counts, too, if `has_own_limit`.
    """
    # Called directly or eagerly nobody would wait between the tries.
    is_in_worker = not (task.request.called_directly or task.request.is_eager)
    limit = runtime.settings.max_retries
    if has_own_limit and task.max_retries is not None:
        # A task of the user's own: its last try must end the delivery, and not only raise.
        limit = min(limit, task.max_retries)
    return is_in_worker and task.request.retries - _waits(task) < limit


def lasts(exc: Exception) -> bool:
    """Whether a mail waits for as long as it takes: somebody has to fix something, or store or broker are away."""
    if isinstance(exc, ProxyUnavailable):
        return exc.remedy is not None
    return isinstance(exc, RETRYABLE)


def retry_later(task: Any, exc: Exception, *, is_lasting: bool | None = None, **options: Any) -> Exception:
    """The exception to raise so that the task runs again later, under the same id.

    `is_lasting` says whether this retry does not count (see `retries_left`); by default as the error is. Other options
    are `Task.retry`'s.
    """
    if task.request.called_directly or task.request.is_eager:
        return exc
    if isinstance(exc, ConfigurationError):
        _log_rarely(f"emails wait for a worker with the right settings: {exc}")
        countdown: float = MISCONFIGURED_SECONDS
    else:
        maximum = get_runtime(task.app).settings.retry_max_seconds
        # Never at once: Celery stores the state RETRY after it has published the retry, whose own states (the final one
        # in the end) would be overwritten by it, or mixed up with it in a database.
        jittered = get_exponential_backoff_interval(1, min(task.request.retries, 30), maximum, full_jitter=True)
        countdown = max(1, jittered)
    if isinstance(exc, ProxyUnavailable) and exc.retry_after_seconds is not None:
        # Whole seconds: Celery's native delayed delivery refuses less than one.
        countdown = max(countdown, math.ceil(exc.retry_after_seconds))
    return retry_in(task, exc, countdown, is_counted=not (lasts(exc) if is_lasting is None else is_lasting), **options)


def retry_in(task: Any, exc: Exception, countdown: float, *, is_counted: bool = False, **options: Any) -> Exception:
    """The exception to raise so that the task runs again after so many seconds, whatever its own limit of retries.

    `is_counted` says whether this retry counts for `retries_left`.
    """
    if not is_counted:
        waits = _waits(task) + 1
        # Also by itself: Celery takes the headers of a message apart, and a retry is made of the request's.
        headers = {**(task.request.headers or {}), _WAITS_HEADER: waits}
        task.request.update({_WAITS_HEADER: waits, "headers": headers})
    # A migrated task is the user's own, and its retry is published by Celery.
    get_runtime(task.app).producers.confirm_all()
    options |= waiting_options(task.app, task.request.delivery_info or {}, countdown)
    try:
        # Whether to retry has been decided: `task.retry` would raise at the task's own limit, with nothing ended.
        retry: Exception = task.retry(exc=exc, throw=False, max_retries=sys.maxsize, **options)
        # For the log, also where the broker waits in place of the worker.
        retry.when = countdown  # type: ignore[attr-defined]
        return retry
    except Reject as rejected:
        # Celery would drop the message: the broker is to keep it instead.
        why = redact(f"{type(rejected.reason).__name__}: {rejected.reason}")
        logger.error("the retry of task %s could not be published; it is given back: %s", task.request.id, why)
        # It comes again at once: a broker that refuses it (a full queue, a limit on its size) is not to be run into.
        time.sleep(_REJECT_PAUSE_SECONDS)
        kept: Exception = Reject(rejected.reason, requeue=True)
        return kept


def out_of_tries(task: Any, runtime: Runtime, unsettled: Unsettled, *, has_own_limit: bool = True) -> Unsettled:
    """Those of the unsettled messages that are not tried again; of the others `reason_to_retry` says why they are."""
    if task.request.called_directly or task.request.is_eager:
        return unsettled
    if retries_left(task, runtime, has_own_limit=has_own_limit):
        return {}
    return {message_id: error for message_id, error in unsettled.items() if not lasts(error)}


def reason_to_retry(unsettled: Unsettled) -> ProxyUnavailable | UnforeseenError:
    """The error that a run with several is tried again for: one that counts, if there is one."""
    return min(unsettled.values(), key=lasts)


def retry_or_give_up(
    task: Any,
    runtime: Runtime,
    unsettled: Unsettled,
    *,
    task_id: str,
    callbacks: Mapping[str, Callbacks],
) -> list[str]:
    """Raise the retry of what is unsettled. What has no tries left is ended first: the ids of those that ended so.

    `callbacks` as in `Submitter.give_up`.
    """
    ending = out_of_tries(task, runtime, unsettled)
    ended: list[str] = []
    for error in dict.fromkeys(ending.values()):
        ids = [message_id for message_id, each in ending.items() if each is error]
        ended += submitter_of(runtime).give_up(ids, f"given up: {error}", task_id=task_id, callbacks=callbacks)
    if waiting := {message_id: error for message_id, error in unsettled.items() if message_id not in ending}:
        # With the same arguments: the store knows which messages need no second submission.
        error = reason_to_retry(waiting)
        raise retry_later(task, error) from error
    return ended


def _waits(task: Any) -> int:
    """How many of the task's retries do not count."""
    waits = task.request.get(_WAITS_HEADER)
    return waits if isinstance(waits, int) else 0


#: What was logged of late, and when, by `time.monotonic`.
_logged: dict[str, float] = {}


def _log_rarely(text: str) -> None:
    """Log an error once a minute, however many mails meet it."""
    now = time.monotonic()
    if now - _logged.get(text, -_LOG_SECONDS) >= _LOG_SECONDS:
        _logged[text] = now
        logger.error("%s", text)
