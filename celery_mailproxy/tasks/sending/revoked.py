"""What becomes of the mails of a task that is revoked, or that expires before a worker begins with it.

A task says which mails it sends: it has a method `message_ids(request)`. `end_revoked` does the rest for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ...conf.settings import LEGACY
from ...deliveries.delivery import Delivery
from ...deliveries.report import DeliveryReport, Kind, utcnow
from ...deliveries.stores.base import DeliveryStore
from ...deliveries.suspension import Step
from ...dispatch.dispatcher import dispatcher_of
from ...dispatch.resumer import RESUME_HEADER
from ...errors import redact, visible
from ...runtime import Runtime, get_runtime
from .submitter import submitter_of

__all__ = ["end_legacy", "end_revoked", "finish_revoked", "is_legacy", "is_of_another", "revoked_reason"]

logger = logging.getLogger(__name__)


def end_revoked(sender: Any, request: Any, terminated: bool, expired: bool, **kwargs: Any) -> None:
    """End those mails as `error` that the store knows, and that surely nobody has got; finish the result of the task.

    Never raises.

    A handler of Celery's signal `task_revoked`; `request` is the worker's.
    """
    ask = getattr(sender, "message_ids", None)
    if ask is None:
        return
    reason = revoked_reason(expired=expired)
    message_ids: Sequence[str] = ()
    try:
        message_ids = ask(request)
        runtime = get_runtime(sender.app)
        _end(runtime, message_ids, request, reason, terminated=terminated)
        _finish_followed(runtime, sender, request)
    except Exception as exc:
        # Celery runs this between two messages of the worker: nothing may stop it.
        problem = redact(f"{type(exc).__name__}: {exc}")
        logger.error("messages %s could not be ended (%s): %s", visible(", ".join(message_ids)), reason, problem)


def revoked_reason(*, expired: bool) -> str:
    """Why the mail of a revoked task has ended."""
    return f"the task {'expired' if expired else 'was revoked'} before the email was sent"


def finish_revoked(store: DeliveryStore, message_id: str, *, owner: str) -> None:
    """Note that the result which waited for the mail is stored: REVOKED, and nothing is to come after it."""
    if store.advance(message_id, Step.CLAIM, token=owner).is_allowed:
        store.advance(message_id, Step.FINISH, token=owner)


def is_legacy(delivery: Delivery) -> bool:
    """Whether the mail is sent through the legacy transport: its delivery says so from the first try on."""
    return delivery.server == LEGACY or any(entry.report.via == LEGACY for entry in delivery.history)


def end_legacy(runtime: Runtime, delivery: Delivery, reason: str) -> None:
    """End a mail of the legacy transport as `error`."""
    report = DeliveryReport(kind=Kind.ERROR, message_id=delivery.message_id, at=utcnow(), reason=reason, via=LEGACY)
    dispatcher_of(runtime).dispatch([report])


def _end(runtime: Runtime, message_ids: Sequence[str], request: Any, reason: str, *, terminated: bool) -> None:
    unsent: list[str] = []
    for delivery in runtime.store.get_many(message_ids):
        if delivery is None or delivery.is_ended or is_of_another(delivery, request.id):
            continue
        if not is_legacy(delivery):
            # Of a mail to each recipient alone those are ended; it ends with them.
            unsent += delivery.member_ids or [delivery.message_id]
        elif _surely_unsent(request, terminated=terminated):
            end_legacy(runtime, delivery, reason)
        else:
            logger.error("message %s: its task was revoked, and it may have been sent", visible(delivery.message_id))
    if unsent:
        # The proxy may have some: `give_up` passes over those of which anything has been heard.
        submitter_of(runtime).give_up(unsent, reason, task_id=request.id)


def _finish_followed(runtime: Runtime, task: Any, request: Any) -> None:
    """Finish the suspended result of a revoked task, if it has one: else its message is published for ever."""
    # A resumed run's arguments may have been left out, and with them the id of its mail.
    resumed = getattr(request, RESUME_HEADER, None)
    if resumed is not None:
        message_id = str(resumed["id"])
    elif (own_message_id := getattr(task, "own_message_id", None)) is not None:
        message_id = own_message_id(request)
    else:
        return
    delivery = runtime.store.get(message_id)
    if delivery is not None and delivery.suspension is not None and delivery.suspension.owner == request.id:
        finish_revoked(runtime.store, message_id, owner=request.id)


def is_of_another(delivery: Delivery, task_id: str) -> bool:
    """Whether another task registered the mail, and may still send it.

    The mails of a campaign's chunk are registered by the tasks whose results follow them, but sent by one for all.
    """
    return delivery.suspension is None and delivery.task_id != task_id


def _surely_unsent(request: Any, *, terminated: bool) -> bool:
    """Whether SMTP surely has not got a mail that was already tried through the legacy transport.

    A retry is published by a run that came to its end. But a run that is killed, or whose worker died so that its
    task is given out again, may have got as far as the server.
    """
    is_redelivered = bool((request.delivery_info or {}).get("redelivered"))
    return bool(request.retries) and not terminated and not is_redelivered
