"""A mail above RabbitMQ's `max_message_size`: the caller gets an error, and the log shows the mail as one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from django.core.mail import EmailMessage
from django.db import transaction

from celery_mailproxy import MessageTooLarge
from celery_mailproxy.django.backends import EmailBackend, MigrationEmailBackend
from celery_mailproxy.django.drain.tasks import send_dead_letter, send_multiple
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.django.tasks import discard_content, replay_handlers, send_kept, send_migrating
from celery_mailproxy.tasks.confirmed_task import ConfirmedTask
from tests.django.harness.default_app import default_app
from tests.harness.services import RabbitServer

#: RabbitMQ confirms in milliseconds; a machine may be busy.
pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def app(rabbit_server: RabbitServer) -> Iterator[Celery]:
    """Its mails are not kept in the file storage, however large they are."""
    conf: dict[str, Any] = {
        "broker_url": rabbit_server.url,
        "mail_proxy_store": "django://",
        "mail_proxy_attachment_inline_bytes": 0,
        "mail_proxy_events": False,
        "mail_proxy_migration": {"share": 0.5, "legacy": "django.core.mail.backends.locmem.EmailBackend"},
    }
    with default_app(**conf) as app:
        yield app


def large() -> EmailMessage:
    body = "B" * 70 + "\n"
    return EmailMessage("S", body * (RabbitServer.max_message_bytes // 70), "from@example.com", ["to@example.com"])


@pytest.mark.parametrize("backend", [EmailBackend, MigrationEmailBackend])
def test_the_caller_gets_an_error_and_the_log_shows_the_mail_as_one(app: Celery, backend: type[EmailBackend]) -> None:
    with pytest.raises(MessageTooLarge, match="max_message_size"):
        backend().send_messages([large()])
    (mail,) = EmailLog.objects.all()
    assert mail.status == "error"
    assert "MessageTooLarge" in mail.error_message


def test_at_a_commit_it_is_logged(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), transaction.atomic():
        assert EmailBackend().send_messages([large()]) == 1
    assert EmailLog.objects.get().status == "error"
    assert "1 emails are not sent (MessageTooLarge)" in caplog.text


def test_every_task_of_djangos_is_published_with_confirmation(app: Celery) -> None:
    tasks = (discard_content, replay_handlers, send_dead_letter, send_kept, send_migrating, send_multiple)
    assert all(isinstance(app.tasks[task.name], ConfirmedTask) for task in tasks)
