"""What becomes of the mails of a task that is revoked, or has expired: `end_revoked`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import task_revoked

from ..deliveries.report import Kind
from ..errors import redact
from ..runtime import get_runtime
from ..tasks.sending.submitter import submitter_of
from .legacy import LegacyMail
from .routing import LEGACY, pinned_path

__all__ = ["end_revoked"]

logger = logging.getLogger(__name__)


def end_revoked(app: Celery, message_ids: Sequence[str], request: Any, *, terminated: bool, expired: bool) -> None:
    """End those of these mails as `error` that the store knows, and that surely nobody has got. Never raises.

    `request`, `terminated` and `expired` are those of Celery's signal `task_revoked`.
    """
    reason = f"the task {'expired' if expired else 'was revoked'} before the mail was sent"
    try:
        runtime = get_runtime(app)
        untried = []
        for delivery in runtime.store.get_many(message_ids):
            # Of two tasks with one mail the other one may still send it.
            if delivery is None or delivery.is_ended or delivery.task_id != request.id:
                continue
            if pinned_path(delivery) != LEGACY:
                untried.append(delivery.message_id)
            elif _is_unsent(request, terminated=terminated):
                LegacyMail(runtime, message_id=delivery.message_id, task_id=request.id).tell(Kind.ERROR, reason)
            else:
                logger.error("message %s: its task was revoked, and it may have been sent", delivery.message_id)
        if untried:
            submitter_of(runtime).give_up(untried, reason, task_id=request.id)
    except Exception as exc:
        # Celery runs this between two messages of the worker: nothing may stop it.
        problem = redact(f"{type(exc).__name__}: {exc}")
        logger.error("messages %s could not be ended (%s): %s", ", ".join(message_ids), reason, problem)


def _is_unsent(request: Any, *, terminated: bool) -> bool:
    """Whether SMTP surely has not got a mail that had begun to go the legacy way.

    A retry is published by a run that came to its end. But a run that is killed, or whose worker died so that its
    task is given out again, may have got as far as the server.
    """
    is_redelivered = bool((request.delivery_info or {}).get("redelivered"))
    return bool(request.retries) and not terminated and not is_redelivered


@task_revoked.connect(weak=False, dispatch_uid="celery_mailproxy.migration.end_revoked")
def _end_revoked(sender: Any, request: Any, terminated: bool, expired: bool, **kwargs: Any) -> None:
    """The same for a task that is migrated, whose mail has its id."""
    if getattr(getattr(sender, "run", None), "is_migrated", False):
        end_revoked(sender.app, [request.id], request, terminated=terminated, expired=expired)
