"""The Celery tasks of the Django application; `app.autodiscover_tasks()` finds them, and the others with them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from celery import shared_task
from celery.signals import task_revoked, worker_init

from ..dispatch.dispatcher import dispatcher_of
from ..errors import InvalidMessage, MessageRejected, redact
from ..migration.revoking import end_revoked
from ..runtime import get_runtime
from ..tasks import send_many_via_proxy, send_via_proxy
from ..tasks.sending.outgoing import SendTask, addressee_of, dump_arguments
from ..tasks.sending.retrying import DURABLE, retry_in
from ..tasks.sending.submitter import submitter_of
from .backend.kept_mails import with_references
from .backend.options import LegacySettings
from .legacy.migrating_task import send_migrating
from .log import content

__all__ = ["discard_content", "replay_handlers", "send_kept", "send_migrating"]

logger = logging.getLogger(__name__)

#: Where file storage is not to be had, the mail waits this long and tries again.
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
    name="celery_mailproxy.send_kept",
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
    try:
        source = content.load(content_name)
        if source is None:
            return _without_source(self, arguments)
    except InvalidMessage:
        raise
    except Exception as exc:
        raise _later(self, exc) from exc
    mail = {**arguments, "raw": source.decode()}
    referring = with_references(get_runtime(self.app), mail, content_name, message_id=self.request.id)
    return send_via_proxy.run.__func__(self, **(referring or mail))


def _later(task: Any, exc: Exception) -> Exception:
    """The exception to raise so that the task runs again, however often, once the storage is to be had again."""
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
    gone = InvalidMessage("content_name", "must name a file that is there; it was deleted before the mail was sent")
    submitter_of(runtime).refuse(message_id, callbacks, str(gone), task_id=task.request.id)
    raise gone


@shared_task(name="celery_mailproxy.discard_content", ignore_result=True)
def discard_content(content_name: str) -> None:
    """Delete the source of a mail that has ended, where the store of deliveries is not Django's."""
    content.discard([content_name])


@shared_task(bind=True, name="celery_mailproxy.replay_handlers", ignore_result=True, typing=False, **DURABLE)
def replay_handlers(self: Any, message_ids: Sequence[str]) -> None:
    """Run the failed handlers of these messages again, for the admin: handlers are the worker's."""
    dispatcher = dispatcher_of(get_runtime(self.app))
    for message_id in message_ids:
        try:
            dispatcher.replay(message_id)
        except Exception as exc:
            # Not tried again by itself: they are still noted as failed, and one mail must not stop the others.
            logger.error("message %s: its handlers were not run again: %s", message_id, redact(repr(exc)))


@worker_init.connect(weak=False, dispatch_uid="celery_mailproxy.django.task_config")
def _configure_tasks(sender: Any, **kwargs: Any) -> None:
    """Let CELERY_EMAIL_TASK_CONFIG (`rate_limit`, `max_retries`, …) hold for this worker's mail tasks."""
    attributes = LegacySettings.load().task_attributes
    for task in (send_via_proxy, send_many_via_proxy, send_kept, send_migrating):
        for name, value in attributes.items():
            setattr(sender.app.tasks[task.name], name, value)


@task_revoked.connect(weak=False, dispatch_uid="celery_mailproxy.django.end_revoked")
def _end_revoked(sender: Any, request: Any, terminated: bool, expired: bool, **kwargs: Any) -> None:
    """End the mails of these tasks that nobody will send now."""
    name = getattr(sender, "name", None)
    if name == send_migrating.name:
        message_ids = [each["message_id"] for each in (request.args or [()])[0]]
        end_revoked(sender.app, message_ids, request, terminated=terminated, expired=expired)
    elif name == send_kept.name:
        _end_kept(sender.app, request, expired=expired)


def _end_kept(app: Any, request: Any, *, expired: bool) -> None:
    message_id = (request.kwargs or {}).get("message_id") or request.id
    reason = "its task expired" if expired else "its task was revoked"
    try:
        submitter_of(get_runtime(app)).give_up([message_id], reason, task_id=request.id)
    except Exception:
        # Celery runs this between two messages of the worker: nothing may stop it.
        logger.exception("message %s: %s, and could not be ended", message_id, reason)
