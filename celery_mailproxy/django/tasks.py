"""The Celery tasks of the Django application; `app.autodiscover_tasks()` finds them, and the others with them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery import shared_task

from ..conf import task_names
from ..dispatch.dispatcher import dispatcher_of
from ..errors import redact
from ..runtime import get_runtime
from ..tasks import send_many_via_proxy, send_via_proxy
from ..tasks.confirmed_task import ConfirmedTask
from ..tasks.sending.retrying import DURABLE
from .backend.celery_email import CeleryEmailSettings
from .backend.kept_tasks import discard_content, send_kept
from .legacy.migrating_task import send_migrating

__all__ = ["configure_tasks", "discard_content", "replay_handlers", "send_kept", "send_migrating"]

logger = logging.getLogger(__name__)


@shared_task(
    bind=True, base=ConfirmedTask, name=task_names.REPLAY_HANDLERS, ignore_result=True, typing=False, **DURABLE
)
def replay_handlers(self: Any, message_ids: Sequence[str]) -> None:
    """Run the failed handlers of these messages again, for the admin: handlers are the worker's."""
    dispatcher = dispatcher_of(get_runtime(self.app))
    for message_id in message_ids:
        try:
            dispatcher.replay(message_id)
        except Exception as exc:
            # Not tried again by itself: they are still noted as failed, and one mail must not stop the others.
            logger.error("message %s: its handlers were not run again: %s", message_id, redact(repr(exc)))


def configure_tasks(sender: Any, **kwargs: Any) -> None:
    """Let CELERY_EMAIL_TASK_CONFIG (`rate_limit`, `max_retries`, …) hold for this worker's mail tasks.

    A handler of Celery's signal `worker_init`.
    """
    attributes = CeleryEmailSettings.load().task_attributes
    for task in (send_via_proxy, send_many_via_proxy, send_kept, send_migrating):
        for name, value in attributes.items():
            setattr(sender.app.tasks[task.name], name, value)
