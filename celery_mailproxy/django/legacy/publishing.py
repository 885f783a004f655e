"""`migrating_call`: which task carries the mails of `MigrationEmailBackend`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from ..backend.publishing import Call, Publication
from .migrating_task import send_migrating

__all__ = ["migrating_call"]


def migrating_call(publication: Publication, arguments: Sequence[Mapping[str, Any]], *, app: Celery) -> Call:
    """As `publishing.proxy_call`; the worker chooses the transport, for the share may change."""
    ids = (mail.message_id for mail in publication.mails)
    messages = [{**each, "message_id": own_id} for each, own_id in zip(arguments, ids, strict=True)]
    return Call(task=app.tasks[send_migrating.name], task_id=publication.task_id, args=(messages,))
