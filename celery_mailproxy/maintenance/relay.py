"""The relay: what waits in the outbox past its moment is published again, with the same id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from celery.app.task import Context

from ..deliveries.report import utcnow
from ..deliveries.stores.outbox import OutboxEntry
from ..errors import StoreError, redact
from ..runtime import Runtime
from ..tasks.sending.guard import end_mails
from ..tasks.sending.outbox import KeptMessage, is_passing, publish_kept, read_content
from ..tasks.sending.revoked import end_revoked

__all__ = ["relay"]

logger = logging.getLogger(__name__)

#: How many messages are read at once: each may be a megabyte.
_PAGE = 20

#: Messages that nobody begins with are published less and less often, but at least once a day.
_LONGEST_WAIT_SECONDS = 86400.0
#: After so many copies that is reached, whatever `mail_proxy_outbox_seconds` is.
_DOUBLINGS = 40

#: What cannot be published for a reason of its own is looked at again after that time.
_SET_ASIDE = timedelta(hours=1)


def relay(runtime: Runtime, go_on: Callable[[], bool]) -> int:
    """Publish what is due; how many messages. Between pages `go_on` says whether there is time for the next.

    May run at any time, also twice at once: of several copies of a message one runs. Raises `StoreError`, and one of
    `BROKER_ERRORS` where the broker is down: what is left over is due at the next round.
    """
    number = 0
    while go_on():
        page = runtime.store.outbox.due(now=utcnow(), limit=_PAGE)
        if page:
            _reach_broker(runtime)
        number += sum(_relay_one(runtime, entry) for entry in page)
        if len(page) < _PAGE:
            break
    return number


def _relay_one(runtime: Runtime, entry: OutboxEntry) -> bool:
    """Whether the message was published."""
    now = utcnow()
    try:
        message = read_content(entry.content)
        if message.has_expired(runtime.app, now=now):
            _end_expired(runtime, message)
            return False
        if now - message.kept_at > timedelta(seconds=runtime.retention.pending_seconds):
            _give_up(runtime, message)
            return False
        # An id that is too long for the store comes back otherwise.
        entry = replace(entry, task_id=message.task_id)
        # Before the publication: a run may have begun since the page was read, and keeps the turn. Who dies in between
        # has published once too little, and what waits is published later.
        noted = runtime.store.outbox.republish(entry, due_at=now + _wait(runtime, entry.copies + 1))
        if noted is None:
            return False
        entry = noted
        publish_kept(runtime, message, copy=entry.copies)
    except StoreError:
        raise
    except Exception as exc:
        is_due_again = is_passing(exc)
        runtime.store.outbox.reschedule([entry], due_at=now if is_due_again else now + _SET_ASIDE)
        if is_due_again:
            raise
        # One message must not hold up the others.
        logger.error("task %s cannot be published: %s", entry.task_id, redact(f"{type(exc).__name__}: {exc}"))
        return False
    return True


def _wait(runtime: Runtime, copies: int) -> timedelta:
    """How long after that copy the message is looked at again."""
    seconds = runtime.settings.outbox_seconds * 2.0 ** min(copies, _DOUBLINGS)
    return timedelta(seconds=min(seconds, _LONGEST_WAIT_SECONDS))


def _reach_broker(runtime: Runtime) -> None:
    """Raise where the broker is down, before a copy is counted that nobody gets: each makes the next one wait."""
    with runtime.producers.acquire() as producer:
        _ = producer.connection.default_channel


def _end_expired(runtime: Runtime, message: KeptMessage) -> None:
    """End the mails as a worker does that finds the task expired; then nobody needs the message any more."""
    if (task := runtime.app.tasks.get(message.name)) is not None:
        end_revoked(sender=task, request=_request(message), terminated=False, expired=True)
    logger.info("task %s has expired in the outbox", message.task_id)
    runtime.store.outbox.drop([message.task_id])


def _give_up(runtime: Runtime, message: KeptMessage) -> None:
    """End the mails as `error`, so that everybody who waits for them is notified; then drop the message.

    Raises `StoreError` and kombu's `OperationalError`.
    """
    days = runtime.retention.pending_seconds / 86400
    task = runtime.app.tasks.get(message.name)
    if hasattr(task, "addressees"):
        reason = f"given up: its task has waited in the outbox for {days:.0f} days"
        end_mails(runtime, task.addressees(_request(message)), reason, task_id=message.task_id)
    logger.error("task %s is dropped from the outbox: no worker has finished it in %.0f days", message.task_id, days)
    runtime.store.outbox.drop([message.task_id])


def _request(message: KeptMessage) -> Context:
    """The request of a run that nobody begins with."""
    return Context(
        id=message.task_id,
        args=message.args,
        kwargs=message.kwargs,
        group=message.options.get("group_id"),
        delivery_info={},
    )
