"""Django's mails to suppressed addresses: what the log says of them, and of a bounce that suppresses one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery
from django.core.mail import EmailMessage
from django.utils import translation

import celery_mailproxy.tasks  # noqa: F401 - registers the shared tasks
from celery_mailproxy import DeliveryReport, DeliverySuppressed, Kind
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog, SuppressedEmail
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.default_app import default_app

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)


@pytest.fixture(params=[True, False], ids=["recipients in the log", "no recipients in the log"])
def app(request: pytest.FixtureRequest, proxy: FakeProxy) -> Iterator[Celery]:
    conf: dict[str, Any] = {
        "url": proxy.url,
        "token": proxy.token,
        "tenant": proxy.tenant_id,
        "account": proxy.account_id,
    }
    conf |= {"store": "django://", "suppression": True, "events": False, "log_recipients": request.param}
    with default_app(**{f"mail_proxy_{name}": value for name, value in conf.items()}, task_always_eager=True) as app:
        yield app


def send(message_id: str, *to: str) -> EmailLog:
    message = EmailMessage("Subject", "Body", "shop@example.com", to)
    message.mail_proxy = {"message_id": message_id}  # type: ignore[attr-defined]
    with suppress(DeliverySuppressed):
        EmailBackend().send_messages([message])
    return EmailLog.objects.get(message_id=message_id)


def bounce(app: Celery, message_id: str, recipient: str) -> None:
    report = DeliveryReport(
        kind=Kind.BOUNCED, message_id=message_id, at=NOW, bounce_type="hard", recipient=recipient, event_id=recipient
    )
    dispatcher_of(get_runtime(app)).dispatch([report])


def test_after_a_hard_bounce_the_next_mail_ends_and_the_log_says_why(app: Celery, proxy: FakeProxy) -> None:
    assert send("m1", "Ann <ANN@example.com>", "bob@example.com").status == "queued"
    bounce(app, "m1", "ann@example.com")
    # Whom the mail did not go to a bounce of it does not suppress.
    bounce(app, "m1", "victim@example.com")
    assert list(SuppressedEmail.objects.values_list("address", "cause", "message_id")) == [
        ("ann@example.com", "bounced", "m1")
    ]
    refused = send("m2", "ann@example.com")
    assert (refused.status, refused.error_message) == ("suppressed", "its recipient is on the suppression list")
    with translation.override("en"):
        assert refused.events.get().get_kind_display() == "suppressed"
    partial = send("m3", "ann@example.com", "bob@example.com")
    note = "1 of 2 recipients is on the suppression list, and left out"
    assert (partial.status, partial.error_message) == ("queued", note)
    assert [message["to"] for message in proxy.received][1:] == [["bob@example.com"]]
