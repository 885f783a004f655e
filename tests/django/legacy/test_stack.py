"""`MigrationEmailBackend` on real parts: Redis, a worker with the log in the database, the real proxy, SMTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from django.core.mail import EmailMessage
from django.db import transaction

from celery_mailproxy.django.backends import MigrationEmailBackend
from celery_mailproxy.django.models import EmailLog, EmailLogEvent
from celery_mailproxy.migration import get_router
from celery_mailproxy.testing import MailSink
from tests.django.harness.project_stack import ProjectStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long(40),
    pytest.mark.timeout(900),
    pytest.mark.full_with("commands"),
]


@pytest.fixture
def stack(
    transactional_db: None, tenant: ProxyTenant, redis_server: RedisServer, mail_sink: MailSink
) -> Iterator[ProjectStack]:
    env = {"DJANGO_TEST_SMTP_PORT": str(mail_sink.port)}
    conf = {"mail_proxy_store": "django://", "mail_proxy_migration": {"share": 0.5, "fallback": "unreachable"}}
    with ProjectStack(tenant, broker_url=redis_server.url, env=env, conf=conf) as stack:
        yield stack


def mails(numbers: range) -> list[EmailMessage]:
    return [EmailMessage(f"Subject {n}", "Body", "shop@example.com", [f"to{n}@example.com"]) for n in numbers]


def wait_sent(stack: ProjectStack, number: int) -> None:
    # A breaker that opens stays open for half a minute, and the proxy may be slow to answer after a worker was killed.
    sent = EmailLog.objects.filter(status="sent")
    stack.wait_until(lambda: sent.count() == number, what=f"{number} sent")


def has_begun(mail_sink: MailSink, batch: list[EmailMessage]) -> bool:
    return any(mail_sink.mails_to(mail.to[0]) for mail in batch)


def test_both_ways_deliver_each_mail_once_and_operators_move_the_share(
    stack: ProjectStack, mail_sink: MailSink
) -> None:
    with transaction.atomic():
        assert MigrationEmailBackend().send_messages(mails(range(40))) == 40
        stack.drain()
        assert stack.tenant.proxy.messages(stack.tenant.id) == []
        assert mail_sink.mails == []
    wait_sent(stack, 40)
    ways = Counter(EmailLogEvent.objects.filter(kind="sent").values_list("via", flat=True))
    assert ways["proxy"] > 8
    assert ways["legacy"] > 8
    get_router(stack.app).set_share(1)
    later = mails(range(40, 50))
    MigrationEmailBackend().send_messages(later)
    wait_sent(stack, 50)
    ids = [mail.mail_proxy_id for mail in later]  # type: ignore[attr-defined]
    sent = EmailLogEvent.objects.filter(kind="sent", log__message_id__in=ids)
    assert set(sent.values_list("via", flat=True)) == {"proxy"}
    assert Counter(mail.rcpt_to[0] for mail in mail_sink.mails) == {f"to{n}@example.com": 1 for n in range(50)}


def test_a_killed_worker_loses_no_mail_on_either_way(stack: ProjectStack, mail_sink: MailSink) -> None:
    for number in range(3):
        batch = mails(range(number * 20, number * 20 + 20))
        MigrationEmailBackend().send_messages(batch)
        stack.wait_until(partial(has_begun, mail_sink, batch), what="the first mail of those")
        stack.worker.kill_pool()
    wait_sent(stack, 60)
    got = Counter(mail.rcpt_to[0] for mail in mail_sink.mails)
    assert len(got) == 60
    # SMTP knows no ids: at most the mail that each of the killed had just handed over.
    assert sum(number - 1 for number in got.values()) <= 6
    assert set(got.values()) <= {1, 2}
