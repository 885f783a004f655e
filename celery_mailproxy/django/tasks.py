"""The Celery tasks of the Django application; `app.autodiscover_tasks()` finds them, and the others with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery import shared_task
from celery.signals import task_revoked, worker_init

from ..dispatch.dispatcher import dispatcher_of
from ..errors import redact
from ..migration.revoking import end_revoked
from ..runtime import get_runtime
from ..tasks import send_many_via_proxy, send_via_proxy
from ..tasks.sending.retrying import DURABLE
from ..tasks.sending.submitter import submitter_of
from .backend.celery_email import CeleryEmailSettings
from .backend.kept_tasks import discard_content, send_kept
from .legacy.migrating_task import send_migrating

__all__ = ["discard_content", "replay_handlers", "send_kept", "send_migrating"]

logger = logging.getLogger(__name__)


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
    attributes = CeleryEmailSettings.load().task_attributes
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
