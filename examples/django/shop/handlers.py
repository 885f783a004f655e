"""What the shop does about its mail, whoever sent it. The handlers run in the worker."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.dispatch import signals
from celery_mailproxy.django.models import EmailLog

from .models import Customer


@signals.mail_error.connect
def note_unreachable(report: Any, **kwargs: Any) -> None:
    """A mail was given up: do not count on that customer's address."""
    for relation in EmailLog.objects.get(message_id=report.message_id).relations.all():
        if isinstance(relation.content_object, Customer):
            Customer.objects.filter(pk=relation.object_id).update(is_reachable=False)
