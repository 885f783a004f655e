"""`publish_migrating`: how `MigrationEmailBackend` hands mails over to the broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery import Celery

from ...conf.settings import Settings
from ..backend.publishing import Publication, task_arguments
from .migrating_task import send_migrating

__all__ = ["publish_migrating"]


def publish_migrating(publication: Publication, *, app: Celery, settings: Settings, options: Mapping[str, Any]) -> None:
    """As `publishing.publish`; the worker chooses the transport, for the share may change."""
    with task_arguments(publication, app, settings) as arguments:
        ids = (mail.message_id for mail in publication.mails)
        messages = [{**each, "message_id": own_id} for each, own_id in zip(arguments, ids, strict=True)]
        app.tasks[send_migrating.name].apply_async((messages,), task_id=publication.task_id, **options)
