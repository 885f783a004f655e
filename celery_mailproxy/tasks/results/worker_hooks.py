"""What a worker with these tasks does beside them: it checks its settings, and ends mails whose task is revoked."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import celeryd_init, task_revoked

from ...errors import ConfigurationError
from ...runtime import get_runtime
from ..sending.outgoing import SEND_TASK
from ..sending.submitter import submitter_of
from .chunks import chunk_ids, deliver_from_chunk

__all__: list[str] = []

logger = logging.getLogger(__name__)


@celeryd_init.connect(weak=False, dispatch_uid="celery_mailproxy.check_settings")
def _check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes."""
    try:
        get_runtime(instance.app).settings.server_names()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc


@task_revoked.connect(weak=False, dispatch_uid="celery_mailproxy.end_revoked")
def _end_revoked(sender: Any, request: Any, expired: bool, **kwargs: Any) -> None:
    """End a mail whose task was revoked or has expired before the proxy had it."""
    arguments = request.kwargs or {}
    if sender is None:
        return
    if sender.name == SEND_TASK:
        message_ids = [arguments.get("message_id") or request.id]
    elif sender.name == deliver_from_chunk.name:
        # The others of the chunk wait for mails that nobody will submit now.
        message_ids = chunk_ids(request.group, arguments)
    else:
        return
    reason = "its task expired" if expired else "its task was revoked"
    try:
        runtime = get_runtime(sender.app)
        known = runtime.store.get_many(message_ids)
        ids = [each for one in known if one for each in one.member_ids]
        submitter_of(runtime).give_up(ids or message_ids, reason, task_id=request.id)
    except Exception:
        # Celery runs this between two messages of the worker: nothing may stop it.
        logger.exception("messages %s: %s, and could not be ended", ", ".join(message_ids), reason)
