"""What a delivery says of its message."""

from __future__ import annotations

from datetime import timedelta

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.report import Kind
from tests.unit.deliveries.values import NOW, delivery, record, report


def test_usual_course_of_a_mail() -> None:
    ended = record(
        delivery(),
        report(Kind.QUEUED, 0),
        report(Kind.DEFERRED, 1, reason="greylisted"),
        report(Kind.DEFERRED, 61, reason="busy"),
        report(Kind.SENT, 361),
    )
    assert ended.status is Status.SENT
    assert ended.is_ended
    assert ended.queued_at == NOW
    assert ended.sent_at == ended.ended_at == NOW + timedelta(seconds=361)
    assert ended.attempts == 3
    assert ended.reason == "busy"


def test_pending_delivery_has_no_end() -> None:
    assert record(delivery(), report(Kind.QUEUED)).ended_at is None


def test_repr_shows_neither_callbacks_nor_summary() -> None:
    shown = repr(delivery(callbacks={"sent": [{"args": ["secret"]}]}, summary={"subject": "secret"}))
    assert "secret" not in shown
