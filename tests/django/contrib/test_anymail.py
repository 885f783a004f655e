"""A service's webhook, taken by the real django-anymail, reaches the handlers of our signals."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from anymail.signals import AnymailTrackingEvent, tracking
from anymail.webhooks.brevo import BrevoTrackingWebhookView
from celery import Celery
from django.http import HttpRequest
from django.test import RequestFactory

import celery_mailproxy.tasks  # noqa: F401 - registers the dispatch task
from celery_mailproxy.contrib.anymail import connect_tracking
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.dispatch import signals
from celery_mailproxy.errors import StoreError
from celery_mailproxy.runtime import forget_runtime, get_runtime

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
IDS = ("6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d", "each")


@pytest.fixture
def app(settings: Any) -> Iterator[Celery]:
    settings.ANYMAIL = {"WEBHOOK_SECRET": "anymail:secret"}
    app = Celery("shop", set_as_current=False)
    app.conf.update(task_always_eager=True, mail_proxy_url="http://x", mail_proxy_store=f"memory://{uuid4()}")
    get_runtime(app).store.register(
        [
            Delivery(message_id=IDS[0], created_at=NOW, updated_at=NOW),
            Delivery(message_id=IDS[1], created_at=NOW, updated_at=NOW, members=("a@x.example", "b@x.example")),
            Delivery(message_id=f"{IDS[1]}-1", created_at=NOW, updated_at=NOW, parent_id=IDS[1]),
        ]
    )
    # An app's own handlers are its own: the next test connects another.
    before = list(tracking.receivers)
    connect_tracking(app)
    yield app
    tracking.receivers = before
    tracking.sender_receivers_cache.clear()
    forget_runtime(app)
    app.close()


@pytest.fixture
def heard(app: Celery) -> Iterator[list[tuple[str, DeliveryReport]]]:
    found: list[tuple[str, DeliveryReport]] = []

    def note(signal: Any, report: DeliveryReport, **kwargs: Any) -> None:
        found.append((signal.name, report))

    for signal in (signals.mail_bounced, signals.mail_complained):
        signal.connect(note, sender=app, weak=False)
    yield found
    for signal in (signals.mail_bounced, signals.mail_complained):
        signal.disconnect(note, sender=app)


def webhook(**event: Any) -> int:
    """Post an event as Brevo does; the status of the answer."""
    body = {"ts_epoch": 1772452800000, "email": "ann@x.example", "message-id": f"<{IDS[0]}@shop.example>", **event}
    credentials = base64.b64encode(b"anymail:secret").decode()
    request: HttpRequest = RequestFactory().post(
        "/anymail/brevo/tracking/",
        data=json.dumps(body),
        content_type="application/json",
        headers={"Authorization": f"Basic {credentials}"},
    )
    return int(BrevoTrackingWebhookView.as_view()(request).status_code)


def test_bounce_and_complaint_reach_the_handlers_once(app: Celery, heard: list[tuple[str, DeliveryReport]]) -> None:
    for _ in range(2):
        assert webhook(event="hard_bounce", reason="550 5.1.1 User unknown") == 200
        assert webhook(event="soft_bounce", reason="452 4.2.2 Mailbox full") == 200
        assert webhook(event="spam") == 200
    # A bounce says more than that it came: which address, and why.
    assert [(name, each.kind, each.bounce_type, each.code, each.recipient) for name, each in heard] == [
        ("mail_bounced", Kind.BOUNCED, "hard", "5.1.1", "ann@x.example"),
        ("mail_bounced", Kind.BOUNCED, "soft", "4.2.2", "ann@x.example"),
        ("mail_complained", Kind.COMPLAINED, None, None, "ann@x.example"),
    ]
    assert {each.message_id for _, each in heard} == {IDS[0]}
    assert {each.via for _, each in heard} == {"anymail"}


def test_other_events_and_other_mails_are_left_alone(app: Celery, heard: list[tuple[str, DeliveryReport]]) -> None:
    for event in ("delivered", "opened", "click", "deferred", "request", "unsubscribed"):
        assert webhook(event=event) == 200
    assert webhook(event="hard_bounce", **{"message-id": "<other@shop.example>"}) == 200
    assert webhook(event="hard_bounce", **{"message-id": None}) == 200
    assert heard == []


def test_id_is_found_where_a_service_tells_it_beside_its_own(
    app: Celery, heard: list[tuple[str, DeliveryReport]]
) -> None:
    headers = [{"name": "From", "value": "a@x"}, {"name": "Message-ID", "value": f"<{IDS[0]}@shop.example>"}]
    raws = (
        {"mail": {"messageId": "0100-aws", "headers": headers}},
        {"mail": {"messageId": "0100-aws", "commonHeaders": {"messageId": f"<{IDS[0]}@shop.example>"}}},
        {"event-data": {"message": {"headers": {"message-id": f"{IDS[0]}@shop.example"}}}},
        {"smtp-id": f"<{IDS[0]}@shop.example>"},
    )
    for number, raw in enumerate(raws):
        event = AnymailTrackingEvent(
            event_type="bounced", event_id=str(number), message_id="0100-aws", recipient="a@x.example",
            reject_reason="invalid", timestamp=NOW, esp_event=raw,
        )  # fmt: skip
        tracking.send(sender=None, event=event, esp_name="Some")
    assert [each.bounce_type for _, each in heard] == ["hard"] * len(raws)


def test_copy_for_one_recipient_is_found_by_the_recipient(app: Celery, heard: list[tuple[str, DeliveryReport]]) -> None:
    assert webhook(event="hard_bounce", email="B@x.example", **{"message-id": f"<{IDS[1]}@shop.example>"}) == 200
    assert [each.message_id for _, each in heard] == [f"{IDS[1]}-1"]


def test_service_is_asked_to_come_again_where_the_store_is_away(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(message_ids: Any) -> Any:
        raise StoreError("away")

    monkeypatch.setattr(get_runtime(app).store, "get_many", away)
    # Django answers 500 to it.
    with pytest.raises(StoreError):
        webhook(event="hard_bounce")
