"""Deliveries of one message, and reports of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Verdict, record_report
from celery_mailproxy.deliveries.report import DeliveryReport, Kind

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


def delivery(**fields: Any) -> Delivery:
    return Delivery(message_id="m", created_at=NOW, updated_at=NOW, **fields)


def report(kind: Kind, second: int = 0, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id="m", at=NOW + timedelta(seconds=second), **fields)


def record(before: Delivery, *reports: DeliveryReport, claim: str = "task-1", now: datetime = NOW) -> Delivery:
    for each in reports:
        before, _ = record_report(before, each, claim=claim, now=now, claim_seconds=60)
    return before


def verdict(before: Delivery, reported: DeliveryReport, *, claim: str = "task-1", now: datetime = NOW) -> Verdict:
    return record_report(before, reported, claim=claim, now=now, claim_seconds=60)[1]
