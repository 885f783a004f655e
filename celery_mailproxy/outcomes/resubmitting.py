"""`kept_content`: the content of a mail that the proxy has lost, as far as it is at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..conf import task_names
from ..deliveries.delivery import Delivery
from ..dispatch.resumer import arguments_of
from ..errors import redact, visible
from ..runtime import Runtime
from ..tasks.sending.arguments import many_outgoing, messages_of, one_outgoing
from ..tasks.sending.outbox import read_content
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.per_recipient import distribute

__all__ = ["kept_content"]

logger = logging.getLogger(__name__)

#: The task's own arguments, which are none of the mail's.
_OWN = ("collect", "per_recipient")


def kept_content(runtime: Runtime, delivery: Delivery) -> Outgoing | None:
    """The mail, from the arguments of its task; None where they are not kept any more.

    They are where a result of `deliver_via_proxy` waits for the mail, and in the outbox until the task is done: that of
    a list waits for the last of its mails. Raises `StoreError`.
    """
    holder = delivery if delivery.parent_id is None else runtime.store.get(delivery.parent_id)
    suspension = None if holder is None else holder.suspension
    if holder is not None and suspension is not None:
        name, args, kwargs = arguments_of(suspension)
        if args or kwargs:
            return _built(runtime, delivery, name, args, kwargs, holder.message_id)
    entry = runtime.store.outbox.find(delivery.task_id) if delivery.task_id else None
    if entry is None:
        return None
    try:
        message = read_content(entry.content)
    except Exception as exc:
        # What somebody else has written.
        logger.warning("task %s: its entry in the outbox cannot be read: %s", entry.task_id, type(exc).__name__)
        return None
    return _built(runtime, delivery, message.name, message.args, message.kwargs, message.task_id)


def _built(
    runtime: Runtime, delivery: Delivery, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], task_id: str
) -> Outgoing | None:
    """The mail among those of a task with these arguments."""
    try:
        found = _of_task(runtime, name, args, kwargs, task_id, is_member=delivery.parent_id is not None)
    except Exception as exc:
        # The settings have changed, say: it could not be sent today.
        logger.warning("message %s cannot be built again: %s", visible(delivery.message_id), redact(repr(exc)))
        return None
    return next((each for each in found if each.message.message_id == delivery.message_id), None)


def _of_task(
    runtime: Runtime, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], task_id: str, *, is_member: bool
) -> Sequence[Outgoing]:
    settings = runtime.settings
    if name == task_names.SEND_MANY:
        messages, common = messages_of(args, kwargs)
        return many_outgoing(messages, common, settings=settings, task_id=task_id)[0]
    if name not in (task_names.SEND, task_names.DELIVER):
        return ()
    arguments = {key: value for key, value in kwargs.items() if key not in _OWN}
    outgoing = one_outgoing(args, arguments, settings=settings, message_id=task_id)
    return distribute(outgoing)[1] if is_member else [outgoing]
