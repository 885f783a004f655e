"""The Celery tasks of mails whose source lies in the file storage; `celery_mailproxy.django.tasks` has them all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from celery import shared_task

from ...conf import task_names
from ...errors import InvalidMessage, MessageRejected
from ...runtime import get_runtime
from ...tasks import send_via_proxy
from ...tasks.confirmed_task import ConfirmedTask
from ...tasks.sending.arguments import addressee_of, dump_arguments
from ...tasks.sending.base_tasks import SendTask
from ...tasks.sending.guard import guarded
from ...tasks.sending.retrying import retry_in
from ...tasks.sending.submitter import submitter_of
from ..log import content
from .kept_mails import with_references

__all__ = ["discard_content", "send_kept"]

logger = logging.getLogger(__name__)

#: How long a mail waits for a file storage that is unavailable.
_STORAGE_RETRY_SECONDS = 60


class SendKeptTask(SendTask):
    """The base of the task whose mail lies in the file storage."""

    abstract = True

    own_arguments = (*SendTask.own_arguments, "content_name")

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """As `Task.apply_async`. The mail has been checked, and its source is not here to check it again."""
        mail, own = self._split(kwargs)
        return self._publish(args, {**dump_arguments(mail), **own}, task_id, options)


@shared_task(
    bind=True,
    base=SendKeptTask,
    name=task_names.SEND_KEPT,
    throws=(InvalidMessage, MessageRejected),
    typing=False,
    acks_late=True,
    reject_on_worker_lost=True,
    max_retries=None,
    soft_time_limit=300,
    time_limit=330,
)
def send_kept(self: Any, *, content_name: str, **arguments: Any) -> Any:
    """Submit the mail whose source is the file `content_name` of the storage; the rest is as in `send_via_proxy`.

    The proxy gets references to its attachments, and asks for them when it sends, where it is one that can, and makes
    the same mail of them; else it gets the whole. Raises `InvalidMessage` where the file is gone before that.
    """
    return guarded(self, lambda: _send(self, content_name, arguments))


def _send(task: Any, content_name: str, arguments: Mapping[str, Any]) -> Any:
    try:
        source = content.load(content_name)
    except Exception as exc:
        raise _later(task, exc) from exc
    if source is None:
        return _without_source(task, arguments)
    mail = {**arguments, "raw": source.decode()}
    referring = with_references(get_runtime(task.app), mail, content_name, message_id=task.request.id)
    return send_via_proxy.run.__func__(task, **(referring or mail))


def _later(task: Any, exc: Exception) -> Exception:
    """The exception to raise so that the task runs again, however often, once the storage is available again."""
    if task.request.called_directly or task.request.is_eager:
        return exc
    logger.warning("the content of message %s cannot be read: %s", task.request.id, type(exc).__name__)
    return retry_in(task, exc, _STORAGE_RETRY_SECONDS)


def _without_source(task: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a mail that has ended, where its task was given out twice. Else the mail ends here."""
    runtime = get_runtime(task.app)
    message_id, callbacks = addressee_of((), arguments, message_id=task.request.id)
    delivery = runtime.store.get(message_id)
    if delivery is not None and delivery.is_ended:
        return {"id": message_id, "queued": 1, "rejected": []}
    gone = InvalidMessage("content_name", "must name a file that is there; it was deleted before the email was sent")
    submitter_of(runtime).refuse(message_id, callbacks, str(gone), task_id=task.request.id)
    raise gone


@shared_task(base=ConfirmedTask, name=task_names.DISCARD_CONTENT, ignore_result=True)
def discard_content(content_name: str) -> None:
    """Delete the source of a mail that has ended, where the store of deliveries is not Django's."""
    content.discard([content_name])
