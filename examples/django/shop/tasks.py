"""What follows a mail."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from .models import Invoice


@shared_task
def mark_delivered(report: dict[str, Any], invoice_id: int) -> None:
    """Chained to an invoice's mail by `on_sent`: runs once an SMTP server has taken it."""
    Invoice.objects.filter(pk=invoice_id).update(delivered_at=report["at"])
