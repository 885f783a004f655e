"""What genro-mail-proxy 0.7.0 loses is healed, on the running proxy: the mail goes out once, and is the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from celery_mailproxy import Attachment
from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.proxy.nested_mail import spare_id
from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.mail_sink import ReceivedMail

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.long(60)]

LATER = "451 4.3.0 try later"


@pytest.fixture(scope="module")
def proxy() -> Iterator[RealProxy]:
    """It tries again after a minute."""
    with RealProxy("entities") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hasty_proxy() -> Iterator[RealProxy]:
    """It tries again after a second."""
    with RealProxy("entities", retry_delays_seconds=(1,)) as proxy:
        yield proxy


@contextmanager
def running(proxy: RealProxy, sink: MailSink, redis: RedisServer, **options: Any) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    # A run that was killed has its mail for a little longer than a call to the proxy may take.
    conf = {"mail_proxy_timeout_seconds": 5}
    with MailStack(tenant, broker_url=redis.url, module="tests.harness.healing_app", conf=conf, **options) as stack:
        yield stack


@pytest.fixture(scope="module")
def stack(proxy: RealProxy, sink: MailSink, redis_server: RedisServer, relay: Relay) -> Iterator[MailStack]:
    with running(proxy, sink, redis_server, proxy_url=relay.url) as stack:
        yield stack


@pytest.fixture(scope="module")
def hasty_stack(hasty_proxy: RealProxy, sink: MailSink, redis_server: RedisServer) -> Iterator[MailStack]:
    # One process: while a handler waits nothing is healed.
    with running(hasty_proxy, sink, redis_server, options=("--concurrency", "1")) as stack:
        yield stack


def recipient(stack: MailStack, name: str) -> str:
    return f"{name}-{stack.tenant.suffix}@example.com"


def rows(stack: MailStack) -> dict[str, dict[str, Any]]:
    """What the proxy has, by id."""
    return {each["id"]: each for each in stack.tenant.proxy.messages(stack.tenant.id)}


def shape(mail: ReceivedMail, message_id: str) -> tuple[Any, ...]:
    """All of a mail but what is its own: its id, and the boundaries and the moment that its builder chose."""

    def plain(text: str) -> str:
        return re.sub(r'boundary="[^"]+"', "boundary", text).replace(message_id, "ID")

    headers = [(name, plain(str(value))) for name, value in mail.message.items() if name != "Date"]
    parts = [
        (part.get_content_type(), part.get_filename(), None if part.is_multipart() else part.get_payload(decode=True))
        for part in mail.message.walk()
    ]
    return mail.mail_from, mail.rcpt_to, headers, parts


def test_a_deferred_mail_goes_out_and_is_the_same(stack: MailStack, sink: MailSink) -> None:
    to = recipient(stack, "ann")
    mail: dict[str, Any] = {
        "to": [f"Ann <{to}>"],
        "cc": ["Büro <office@example.com>"],
        "bcc": ["hidden@example.com"],
        "reply_to": "desk@example.com",
        "subject": "Grüße",
        "body": "Hallo",
        "html_body": "<p>Hallo</p>",
        "headers": {"X-Campaign": "7"},
        "priority": "high",
        "batch_code": "spring",
        "attachments": [
            Attachment(filename="own.txt", content=b"Mine\n"),
            Attachment.from_endpoint("greeting=Ann", filename="ann.txt"),
        ],
    }
    at_once = stack.send(callbacks=False, **mail).id
    stack.wait_told(at_once, "mail_sent")
    # All of them: the proxy goes on as soon as one recipient is accepted.
    for each in (to, "office@example.com", "hidden@example.com"):
        sink.answer_next(each, LATER)
    healed = stack.send(callbacks=False, **mail).id
    stack.wait_told(healed, "mail_sent")
    stack.drain()
    assert stack.told(healed) == {"mail_queued": 1, "mail_deferred": 1, "mail_sent": 1}
    first, second = sink.mails_to(to)
    assert shape(second, healed) == shape(first, at_once)
    found = rows(stack)
    assert found.keys() >= {at_once, healed}
    for name in ("account_id", "priority", "batch_code"):
        assert found[healed][name] == found[at_once][name]


def test_a_chained_task_is_called_once_for_each_report(stack: MailStack, sink: MailSink) -> None:
    to = recipient(stack, "bob")
    sink.answer_next(to, LATER, LATER)
    result = stack.send(to=[to])
    stack.wait_told(result.id, "mail_sent", "noted:sent")
    stack.drain()
    told = stack.told(result.id)
    assert told == {
        "mail_queued": 1,
        "mail_deferred": 2,
        "noted:deferred": 2,
        "mail_sent": 1,
        "noted:sent": 1,
    }
    assert len(sink.mails_to(to)) == 1


def test_a_mail_that_is_deferred_for_ever_ends_with_the_servers_reason(stack: MailStack) -> None:
    result = stack.send(to=["later@example.com"])
    stack.wait_told(result.id, "mail_error", "noted:error")
    stack.drain()
    told = stack.told(result.id)
    assert (told["mail_deferred"], told["mail_error"], told["noted:error"]) == (6, 1, 1)
    assert "4.3.0 try later" in stack.delivery(result.id).reason
    assert result.id not in rows(stack)


def test_while_the_proxy_is_away_reports_are_dispatched(stack: MailStack, sink: MailSink, relay: Relay) -> None:
    to = recipient(stack, "eve")
    sink.answer_next(to, LATER)
    result = stack.send(to=[to], send_at=int(time.time()) + 4)
    stack.wait_told(result.id, "mail_queued")
    came = relay.came
    with relay.drop():
        stack.wait_told(result.id, "mail_deferred", "noted:deferred")
        # It was to be healed, and could not be.
        stack.wait_until(lambda: relay.came > came, what="an attempt to heal it")
        assert not sink.mails_to(to)
    stack.wait_told(result.id, "mail_sent")
    stack.drain()
    assert (stack.told(result.id)["mail_deferred"], stack.told(result.id)["mail_sent"]) == (1, 1)
    assert len(sink.mails_to(to)) == 1


def test_a_worker_killed_between_delete_and_add_loses_no_mail(hasty_stack: MailStack, sink: MailSink) -> None:
    stack = hasty_stack
    to = recipient(stack, "joe")
    message_id = stack.tenant.message_id("killed")
    sink.answer_next(to, LATER)
    hung = stack.hang_at("deleted", message_id)
    with stack.killed_when(hung.exists, what="the mail is deleted"):
        with stack.held_where_told(message_id, "deferred"):
            stack.send_with_id(message_id, to=[to])
            stack.wait_until(lambda: is_lost(stack, message_id), what="the proxy loses it")
        stack.wait_until(hung.exists, what="the mail is deleted")
        assert rows(stack).keys() == {spare_id(message_id)}
    stack.wait_told(message_id, "mail_sent")
    stack.drain()
    # The second is that it was lost: no SMTP server has seen it then.
    assert stack.told(message_id) == {"mail_queued": 1, "mail_deferred": 2, "mail_sent": 1}
    assert stack.delivery(message_id).status is Status.SENT
    assert len(sink.mails_to(to)) == 1
    assert rows(stack).keys() == {message_id}


def is_lost(stack: MailStack, message_id: str) -> bool:
    row = rows(stack).get(message_id)
    return row is not None and row["error"] == "missing 'from'"
