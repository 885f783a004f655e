"""What a task does about its entry in the outbox: when it is published, when it begins, waits and ends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

from celery import states
from celery.exceptions import Ignore

from ...deliveries.delivery import Status
from ...deliveries.report import utcnow
from ...deliveries.stores.outbox import OutboxEntry, Turn
from ...dispatch.resumer import OUTBOX_HEADER
from ...errors import MailProxyError, StoreError
from ...runtime import Runtime, get_runtime
from .outbox import due_after, entry_of
from .retrying import RETRYABLE, retry_later

__all__ = ["begin_run", "drop_revoked", "end_run", "keep_for_retry", "keep_published"]

logger = logging.getLogger(__name__)

#: How long a run may take that has no limit of its own.
_LONGEST_RUN_SECONDS = 3600.0

#: In which states a task is done. `Ignore` is the end of a run whose result follows the mail.
_DONE = frozenset({states.SUCCESS, states.FAILURE, states.REVOKED, states.IGNORED})


def keep_published(
    task: Any, args: Any, kwargs: Mapping[str, Any], task_id: str | None, options: Mapping[str, Any]
) -> OutboxEntry | None:
    """Keep the message of a task that is about to be published; None where it is not to be kept.

    Raises `StoreError`, and kombu's `EncodeError`.
    """
    runtime = get_runtime(task.app)
    if runtime.settings.outbox is not True or task.app.conf.task_always_eager or not runtime.store.outbox.is_open:
        return None
    seconds = runtime.settings.outbox_seconds
    entry = entry_of(task, args, kwargs, task_id=task_id or str(uuid4()), options=options, seconds=seconds)
    runtime.store.outbox.put([entry])
    return entry


def keep_for_retry(task: Any, options: Mapping[str, Any]) -> None:
    """A retry is about to be published: until it has begun the message is not published by anybody else."""
    copy = (options.get("headers") or {}).get(OUTBOX_HEADER)
    if copy is None:
        return
    try:
        runtime = get_runtime(task.app)
        seconds = runtime.settings.outbox_seconds
        due_at = due_after(options, seconds=seconds, now=utcnow(), timezone=task.app.timezone)
        runtime.store.outbox.begin(task.request.id, int(copy), due_at=due_at)
    except MailProxyError as exc:
        # Then another copy comes while this one waits; the first of them goes on.
        logger.debug("task %s: its retry is not noted in the outbox: %s", task.request.id, exc)


def begin_run(task: Any) -> None:
    """Let the run go on only if no other copy of its message has begun, or is done: else raise `Ignore`.

    Two runs would continue a chain twice, though the mail would be sent once.
    """
    copy = task.request.get(OUTBOX_HEADER)
    if copy is None:
        return
    runtime = get_runtime(task.app)
    try:
        due_at = utcnow() + timedelta(seconds=_run_seconds(task) + runtime.settings.outbox_seconds)
        turn = runtime.store.outbox.begin(task.request.id, int(copy), due_at=due_at)
        if turn is Turn.MINE or (turn is Turn.GONE and not _is_done(runtime, task)):
            return
    except RETRYABLE as exc:
        raise retry_later(task, exc) from exc
    logger.info("task %s[%s]: another copy of it %s", task.name, task.request.id, _WORDS[turn])
    # Nothing is dropped when this run ends: the entry is the other one's.
    task.request.update({OUTBOX_HEADER: None})
    raise Ignore


def end_run(sender: Any, task_id: str, state: str | None, **kwargs: Any) -> None:
    """Drop the entry of a task that is done, and with it the mail's content. Never raises.

    A handler of Celery's signal `task_postrun`: the result is stored by then, and what follows it is published.
    """
    if state not in _DONE or sender.request.get(OUTBOX_HEADER) is None:
        return
    _drop(sender, task_id)


def drop_revoked(sender: Any, request: Any, **kwargs: Any) -> None:
    """Drop the entry of a task that was revoked, or that has expired. Never raises.

    A handler of Celery's signal `task_revoked`; `request` is the worker's.
    """
    if OUTBOX_HEADER in (getattr(request, "request_dict", None) or {}):
        _drop(sender, request.id)


def _drop(task: Any, task_id: str) -> None:
    try:
        get_runtime(task.app).store.outbox.drop([task_id])
    except MailProxyError as exc:
        # It is published again, finds that all is done, and is dropped then.
        logger.warning("task %s is done, and could not be dropped from the outbox: %s", task_id, exc)


def _is_done(runtime: Runtime, task: Any) -> bool:
    """Whether an entry that is not there was dropped because all is done.

    Else the store has lost it, and the broker's message is all there is of the mail.
    """
    try:
        message_ids = task.message_ids(task.request)
        found = runtime.store.get_many(message_ids)
    except StoreError:
        raise
    except Exception:
        # Arguments that are wrong: the run itself says so.
        return False
    return bool(found) and all(one is not None and one.status is not Status.NEW for one in found)


def _run_seconds(task: Any) -> float:
    limits = task.request.timelimit or (None, None)
    return float(limits[0] or task.time_limit or _LONGEST_RUN_SECONDS)


_WORDS = {Turn.OTHERS: "has begun", Turn.GONE: "is done"}
