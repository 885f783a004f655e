"""Tasks of the old package that a worker cannot decode, on real brokers: kept, told, and sent when it can."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from kombu import Queue

from celery_mailproxy.django.drain.models import DeadLetter
from celery_mailproxy.django.drain.undecodable import waiting_queue
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.testing import FakeProxy, MailSink
from tests.django.harness.project_stack import ProjectStack
from tests.harness.proxy_tenant import ProxyTenant

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.full_with("rabbit_server")]

LOGIN = {"username": "smtp-user", "password": "s3cret"}


@pytest.fixture(params=["redis_server", "rabbit_server"])
def stack(request: pytest.FixtureRequest, transactional_db: None, mail_sink: MailSink) -> Iterator[ProjectStack]:
    env = {"C_FORCE_ROOT": "true"}
    broker_url = request.getfixturevalue(request.param).url
    with FakeProxy("commands") as proxy:
        tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        tenant.add()
        conf = {"mail_proxy_store": "django://"}
        with ProjectStack(tenant, broker_url=broker_url, env=env, conf=conf) as stack:
            yield stack


def publish_pickled(stack: ProjectStack, task_id: str) -> None:
    mail = EmailMessage("Pickled", "Body", "from@example.com", ["to@example.com"])
    stack.app.send_task(
        "djcelery_email_send_multiple", ([mail], LOGIN), task_id=task_id, serializer="pickle", compression="zlib"
    )


def waiting(stack: ProjectStack) -> int:
    with stack.app.connection_for_write() as connected, connected.channel() as channel:
        return int(Queue(waiting_queue(stack.app), channel=channel).queue_declare().message_count)


def test_what_cannot_be_decoded_waits_on_the_broker(stack: ProjectStack, admin_client: Client) -> None:
    task_id = str(uuid4())
    publish_pickled(stack, task_id)
    stack.wait_until(lambda: DeadLetter.objects.filter(message_id=task_id).exists(), what="a dead letter")
    letter = DeadLetter.objects.get()
    assert (letter.task_id, letter.content) == (task_id, "")
    assert letter.reason.startswith(
        "its task cannot be decoded here (application/x-python-serialize, ContentDisallowed)"
    )
    assert waiting(stack) == 1
    # In the admin it can be looked at, and nobody is told that it is tried again there.
    page = admin_client.get(reverse("admin:celery_mailproxy_drain_deadletter_change", args=[letter.pk]))
    assert "mailproxy_requeue" in page.content.decode()
    chosen = {"action": "try_again", "_selected_action": [letter.pk]}
    answer = admin_client.post(reverse("admin:celery_mailproxy_drain_deadletter_changelist"), chosen, follow=True)
    assert "mailproxy_requeue" in str([str(message) for message in answer.context["messages"]])

    # Put back while the worker has not changed, it waits again.
    call_command("mailproxy_requeue")
    stack.wait_until(lambda: DeadLetter.objects.exclude(pk=letter.pk).exists(), what="another dead letter")
    assert waiting(stack) == 1

    stack.worker.stop()
    accepting = {**json.loads(stack.worker.env["TEST_CONF"]), "accept_content": ["json", "pickle"]}
    stack.worker.env["TEST_CONF"] = json.dumps(accepting)
    stack.worker.start()
    call_command("mailproxy_requeue")
    proxy: Any = stack.tenant.proxy
    stack.wait_until(lambda: len(proxy.received) == 1, what="the submission")
    assert proxy.received[0]["subject"] == "Pickled"
    stack.wait_until(lambda: EmailLog.objects.filter(status="sent").count() == 1, what="the report")
    assert not DeadLetter.objects.exists()
    assert waiting(stack) == 0
    for secret in ("s3cret", "to@example.com"):
        assert secret not in stack.worker.log


def test_what_another_task_cannot_decode_is_celerys_affair(stack: ProjectStack) -> None:
    stack.app.send_task("tests.noted", ({"message_id": "m1"}, "x"), serializer="pickle")
    mail = {"subject": "S", "body": "B", "from_email": "from@example.com", "to": ["to@example.com"]}
    stack.app.send_task("djcelery_email_send_multiple", ([mail], {}))
    stack.wait_until(lambda: EmailLog.objects.filter(status="sent").count() == 1, what="the one behind it")
    assert not DeadLetter.objects.exists()
    assert waiting(stack) == 0
