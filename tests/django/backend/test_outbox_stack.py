"""The outbox on real parts: brokers and processes are killed while mails are sent; each mail arrives once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection, transaction

from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog, OutboxMessage
from celery_mailproxy.testing import MailSink, RealProxy
from tests.django.harness.project_stack import ProjectStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RabbitServer, RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.long(90)]

#: Sends a mail in a transaction, and is gone as soon as that is committed.
ENDS_AFTER_THE_COMMIT = """
import os
import django
django.setup()
from celery_mailproxy.django.backend import handover
handover.publish_committed = lambda *args, **more: os._exit(9)
from django.core.mail import EmailMessage
from django.db import transaction
from tests.django.harness.mail_project import app
from celery_mailproxy.django.backends import EmailBackend
with transaction.atomic():
    mail = EmailMessage("Subject", "Body", "shop@example.com", ["ann@example.com"])
    EmailBackend().send_messages([mail])
"""

CONF = {"mail_proxy_store": "django://", "mail_proxy_outbox_seconds": 2, "mail_proxy_maintenance_seconds": 0.5}


@pytest.fixture(scope="module")
def proxy() -> Iterator[RealProxy]:
    with RealProxy("entities") as proxy:
        yield proxy


@pytest.fixture
def own_tenant(proxy: RealProxy, mail_sink: MailSink) -> Iterator[ProxyTenant]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port).add()
    yield tenant
    tenant.add(None, active=False)


@pytest.fixture
def make_stack(transactional_db: None, own_tenant: ProxyTenant) -> Callable[..., Any]:
    names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database = {name: connection.settings_dict[name] for name in names}
    env = {"DJANGO_TEST_DATABASE": json.dumps(database, default=str)}

    @contextmanager
    def make(broker_url: str) -> Iterator[ProjectStack]:
        with ProjectStack(own_tenant, broker_url=broker_url, env=env, conf=CONF) as stack:
            yield stack

    return make


def mails(numbers: range) -> list[EmailMessage]:
    return [EmailMessage(f"Subject {n}", "Body", "shop@example.com", [f"to{n}@example.com"]) for n in numbers]


def wait_sent(stack: ProjectStack, number: int) -> None:
    sent = EmailLog.objects.filter(status="sent")
    stack.wait_until(lambda: sent.count() == number, what=f"{number} sent, but {sent.count()}")
    stack.wait_until(lambda: not OutboxMessage.objects.exists(), what="nothing is left in the outbox")


def arrived(sink: MailSink) -> Counter[str]:
    return Counter(mail.rcpt_to[0] for mail in sink.mails)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_mails_sent_while_the_broker_is_killed_arrive_once(
    kind: str, make_stack: Callable[..., Any], mail_sink: MailSink, request: pytest.FixtureRequest
) -> None:
    # Its own broker, to be killed; the shared one is asked for so that a missing service is said in one place.
    request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[kind])
    with RedisServer() if kind == "redis" else RabbitServer() as broker, make_stack(broker.url) as stack:
        EmailBackend().send_messages(mails(range(3)))
        wait_sent(stack, 3)
        stack.wait_acknowledged()
        broker.kill()
        for number in range(3, 6):
            assert EmailBackend().send_messages(mails(range(number, number + 1))) == 1
        with transaction.atomic():
            assert EmailBackend().send_messages(mails(range(6, 9))) == 3
        assert EmailLog.objects.filter(status="new").count() == 6
        broker.start()
        wait_sent(stack, 9)
        stack.drain()
        assert arrived(mail_sink) == {f"to{n}@example.com": 1 for n in range(9)}


def test_a_process_that_ends_between_commit_and_publication_loses_nothing(
    make_stack: Callable[..., Any], mail_sink: MailSink, redis_server: RedisServer
) -> None:
    with make_stack(redis_server.url) as stack:
        env = {**os.environ, **stack.worker.env, "PYTHONPATH": str(stack.worker.cwd)}
        done = subprocess.run([sys.executable, "-c", ENDS_AFTER_THE_COMMIT], env=env, cwd=stack.worker.cwd, check=False)
        assert done.returncode == 9
        wait_sent(stack, 1)
        stack.drain()
        assert arrived(mail_sink) == {"ann@example.com": 1}


def test_mails_that_the_broker_loses_arrive_once(
    make_stack: Callable[..., Any], mail_sink: MailSink, redis_server: RedisServer
) -> None:
    with make_stack(redis_server.url) as stack:
        stack.worker.stop()
        EmailBackend().send_messages(mails(range(25)))
        with redis_server.client() as client:
            assert client.delete(stack.queue) == 1
        with transaction.atomic():
            EmailBackend().send_messages(mails(range(25, 30)))
            transaction.set_rollback(True)
        stack.worker.start()
        wait_sent(stack, 25)
        stack.drain()
        assert arrived(mail_sink) == {f"to{n}@example.com": 1 for n in range(25)}


@pytest.mark.full
def test_copies_of_mails_that_were_only_late_change_nothing(
    make_stack: Callable[..., Any], mail_sink: MailSink, redis_server: RedisServer
) -> None:
    """The queue was long: a worker finds the first message and its copies."""
    with make_stack(redis_server.url) as stack:
        # The maintenance of a worker that takes no mails.
        queue = ["-Q", "other"]
        options, stack.worker.options = stack.worker.options, [*queue, "--concurrency", "1"]
        stack.worker.stop()
        stack.worker.start()
        sent = mails(range(5))
        for mail in sent:
            mail.mail_proxy = {"on_sent": stack.noted("sent")}  # type: ignore[attr-defined]
            EmailBackend().send_messages([mail])
        stack.wait_until(
            lambda: OutboxMessage.objects.filter(copies__gte=2).count() == 5, what="two copies of each more"
        )
        stack.worker.stop()
        stack.worker.options = options
        stack.worker.start()
        wait_sent(stack, 5)
        for mail in sent:
            stack.wait_told(mail.mail_proxy_id, "noted:sent")  # type: ignore[attr-defined]
        with redis_server.client() as client:
            stack.wait_until(lambda: not client.exists(stack.queue), what="all copies are taken")
        stack.drain()
        assert arrived(mail_sink) == {f"to{n}@example.com": 1 for n in range(5)}
        assert {mail.mail_proxy_id: stack.told(mail.mail_proxy_id)["noted:sent"] for mail in sent} == {  # type: ignore[attr-defined]
            mail.mail_proxy_id: 1  # type: ignore[attr-defined]
            for mail in sent
        }
        assert stack.worker.log.count(" another copy of it ") >= 10
