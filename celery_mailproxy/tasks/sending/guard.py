"""`guarded`: whatever happens in a task that sends mail, each of its mails is tried again, or ends with notice of it.

The one guard of all sending tasks. A task says whose end it is by `addressees(request)`, and how its run ends then by
`conclude(error)`, where it has that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate

from ...deliveries.delivery import Delivery, Status
from ...dispatch.dispatcher import dispatcher_of
from ...errors import (
    DeliveryError,
    InvalidMessage,
    MailProxyError,
    MessageIdInUse,
    MessageRejected,
    ProxyRequestError,
    ProxyUnavailable,
    UnforeseenError,
)
from ...runtime import Runtime, get_runtime
from .callbacks import Callbacks
from .retrying import MISCONFIGURED_SECONDS, RETRYABLE, retries_left, retry_in, retry_later
from .revoked import end_legacy, is_legacy, is_of_another
from .submitter import submitter_of
from .unforeseen import unforeseen

__all__ = ["Addressees", "end_mails", "guarded"]

#: Message id → its callbacks, as far as they can be read.
Addressees = Mapping[str, Callbacks]


#: What a run raises of ours once its mails have ended, or may not be sent by this task.
_OWN_ENDS = (
    InvalidMessage,
    MessageRejected,
    DeliveryError,
    MessageIdInUse,
    ProxyRequestError,
    ProxyUnavailable,
    UnforeseenError,
)


def guarded(
    task: Any, run: Callable[[], Any], *, addressees: Addressees | None = None, has_own_limit: bool = True
) -> Any:
    """The result of a run. What it raises is raised where it is a mail's own end, or Celery's; else it is a retry.

    Trouble that lasts is waited for (`RETRYABLE`). An unexpected error is tried again as often as a proxy that
    cannot be reached; then the mails end as `error`. `addressees` are the task's mails where it cannot say itself, and
    `has_own_limit` is that of `retries_left`.
    """
    try:
        return run()
    except TaskPredicate:
        raise
    except RETRYABLE as exc:
        raise retry_later(task, exc) from exc
    except MailProxyError as exc:
        if task.request.called_directly or isinstance(exc, _OWN_ENDS):
            raise
        error = UnforeseenError(str(exc))
    except SoftTimeLimitExceeded:
        error = UnforeseenError("the run took longer than the time limit of its task")
    except Exception as exc:
        if task.request.called_directly:
            # No task, and nobody to try again: the caller has to know.
            raise
        error = unforeseen(exc, _ids(task, addressees))
    # Not from within the handler: Celery logs the errors behind an error, too, and keeps them as the result.
    return _retry_or_end(task, error, addressees, has_own_limit=has_own_limit)


def _ids(task: Any, addressees: Addressees | None) -> Sequence[str]:
    """What an error is logged of: the mails, or the task where they are not known."""
    try:
        found = list(task.addressees(task.request) if addressees is None else addressees)
    except Exception:
        # Its arguments are no mail's.
        found = []
    return found or [str(task.request.id)]


def _retry_or_end(task: Any, error: UnforeseenError, addressees: Addressees | None, *, has_own_limit: bool) -> Any:
    try:
        runtime = get_runtime(task.app)
        has_tries = retries_left(task, runtime, has_own_limit=has_own_limit)
    except Exception:
        # The settings cannot be read; who reads them says so.
        raise retry_in(task, error, MISCONFIGURED_SECONDS) from None
    if has_tries:
        raise retry_later(task, error)
    try:
        ending = task.addressees(task.request) if addressees is None else addressees
        end_mails(runtime, ending, f"given up: {error}", task_id=task.request.id)
    except RETRYABLE as exc:
        raise retry_later(task, exc) from exc
    except Exception as exc:
        # Nothing more can be done about it here, and it must not hide why.
        unforeseen(exc, _ids(task, addressees))
        raise error from None
    conclude = getattr(task, "conclude", None)
    if conclude is None:
        raise error
    try:
        return conclude(error)
    except RETRYABLE as exc:
        raise retry_later(task, exc) from exc


def end_mails(runtime: Runtime, addressees: Addressees, reason: str, *, task_id: str) -> None:
    """End those of a task's mails as `error` that have not ended, and that no other task may send.

    A mail that nobody has registered gets a delivery, so that its end is known, and its callbacks are published.
    """
    unsent: list[str] = []
    for message_id, delivery in zip(addressees, runtime.store.get_many(list(addressees)), strict=True):
        if delivery is None or not delivery.is_known:
            unsent.append(message_id)
        elif delivery.is_ended or is_of_another(delivery, task_id):
            continue
        elif is_legacy(delivery):
            end_legacy(runtime, delivery, reason)
        elif delivery.members:
            _end_members(runtime, delivery, addressees[message_id], reason, task_id)
        elif delivery.status is Status.NEW:
            # Of any other something has been heard.
            unsent.append(message_id)
    if unsent:
        submitter_of(runtime).give_up(unsent, reason, task_id=task_id, callbacks=addressees)


def _end_members(runtime: Runtime, parent: Delivery, callbacks: Callbacks, reason: str, task_id: str) -> None:
    """End the mails to each recipient: their parent ends with them. The callbacks are theirs."""
    submitter_of(runtime).give_up(
        parent.member_ids,
        reason,
        task_id=task_id,
        callbacks=dict.fromkeys(parent.member_ids, callbacks),
        parent_id=parent.message_id,
    )
    # Where all of them had ended before.
    dispatcher_of(runtime).join([parent.message_id])
