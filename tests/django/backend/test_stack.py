"""The backend on real parts: a transaction, Redis, a worker, the real proxy, an SMTP server, and the reports back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import transaction

from celery_mailproxy.django import send_mail
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.testing import MailSink
from tests.django.harness.kept_files import files
from tests.django.harness.messages import message, on_the_wire, seen, with_files
from tests.django.harness.project_stack import ProjectStack
from tests.harness import read_mail
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer
from tests.harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(60), pytest.mark.full_with("commands")]


@pytest.fixture
def stack(
    transactional_db: None, tenant: ProxyTenant, redis_server: RedisServer, folder: Path
) -> Iterator[ProjectStack]:
    env = {"DJANGO_TEST_MAIL_STORAGE": str(folder)}
    conf = {"mail_proxy_store": "django://", "mail_proxy_attachment_inline_bytes": 5000}
    with ProjectStack(tenant, broker_url=redis_server.url, env=env, conf=conf) as stack:
        yield stack


def wait_sent(stack: ProjectStack, *mails: EmailMessage) -> None:
    ids = {mail.mail_proxy_id for mail in mails}  # type: ignore[attr-defined]
    stack.wait_until(
        lambda: set(EmailLog.objects.filter(status="sent").values_list("message_id", flat=True)) >= ids,
        what="all sent",
    )


def test_a_mail_goes_out_after_the_commit_and_its_reports_come_back(
    stack: ProjectStack, mail_sink: MailSink, django_user_model: Any
) -> None:
    with transaction.atomic():
        ann = django_user_model.objects.create(username="ann")
        sent = send_mail(
            "Welcome",
            "Hello Ann",
            "shop@example.com",
            ["ann@example.com"],
            html_message="<p>Hello Ann</p>",
            connection=EmailBackend(),
            on_sent=stack.noted("sent"),
            related=ann,
        )
        assert sent == 1
        stack.drain()
        assert stack.tenant.proxy.messages(stack.tenant.id) == []
        assert mail_sink.mails == []
    (mail,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
    assert mail.rcpt_to == ("ann@example.com",)
    assert mail.message.get_body(("html",)).get_content().strip() == "<p>Hello Ann</p>"  # type: ignore[union-attr]
    log = EmailLog.objects.for_object(ann).get()
    stack.wait_told(log.message_id, "noted:sent")
    log.refresh_from_db()
    assert (log.status, log.recipients) == ("sent", "ann@example.com")


def test_of_a_rolled_back_transaction_no_mail_goes_out(stack: ProjectStack, mail_sink: MailSink) -> None:
    with transaction.atomic():
        EmailBackend().send_messages([message(subject="Never")])
        transaction.set_rollback(True)
    last = message(subject="Last")
    EmailBackend().send_messages([last])
    wait_sent(stack, last)
    assert [mail.message["Subject"] for mail in mail_sink.mails] == ["Last"]


def test_mails_sent_together_have_each_an_end(stack: ProjectStack, mail_sink: MailSink) -> None:
    mails = [message(subject=f"Mail {number}", to=[f"to{number}@example.com"]) for number in range(12)]
    assert EmailBackend().send_messages(mails) == 12
    wait_sent(stack, *mails)
    assert len({mail.rcpt_to for mail in mail_sink.mails}) == len(mail_sink.mails) == 12


@pytest.mark.parametrize("way", ["fetched by the proxy", "read by the worker"])
def test_a_large_mail_arrives_as_the_same_and_its_file_is_deleted(
    way: str, stack: ProjectStack, mail_sink: MailSink, folder: Path
) -> None:
    mail = with_files() if way == "fetched by the proxy" else message(body="Größe, and more of it\n" * 1000)
    mail.attachments += [("large.bin", bytes(range(256)) * 400, "application/x-large")] if mail.attachments else []
    EmailBackend().send_messages([mail])
    assert len(files(folder)) == 1
    (received,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
    arrived, meant = seen(read_mail.parse(received.raw)), seen(on_the_wire(mail))
    assert _text_ends(arrived) == _text_ends(meant)
    (held,) = stack.tenant.proxy.messages(stack.tenant.id)
    assert ("mailproxy_content=" in json.dumps(held)) == (way == "fetched by the proxy")
    wait_sent(stack, mail)
    stack.wait_until(lambda: not files(folder), what="the file is deleted")


def _text_ends(parts: Any) -> Any:
    """An attached text file that the proxy fetches arrives in base64, which keeps its line ends as they were."""
    if isinstance(parts, dict):
        return {key: _text_ends(value) for key, value in parts.items()}
    if isinstance(parts, tuple | list):
        return [_text_ends(value) for value in parts]
    return parts.replace(b"\r\n", b"\n") if isinstance(parts, bytes) else parts
