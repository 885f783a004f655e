"""The last look at a mail, on real parts: it is changed, withdrawn, expired, redirected, and carries its own data."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from celery_mailproxy import DeliveryCancelled, DeliveryExpired
from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(30), pytest.mark.full_with("commands")]

MODULE = "tests.harness.gate_app"


@pytest.fixture(scope="module")
def proxy(real_proxy: RealProxy) -> RealProxy:
    return real_proxy


@pytest.fixture(scope="module")
def stack(proxy: RealProxy, sink: MailSink, redis_server: RedisServer, relay: Relay) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=redis_server.url, proxy_url=relay.url, module=MODULE) as stack:
        yield stack


def address(stack: MailStack, name: str) -> str:
    return f"{name}-{stack.tenant.suffix}@example.com"


def test_a_handler_changes_what_leaves(stack: MailStack, sink: MailSink) -> None:
    given, other = address(stack, "given"), address(stack, "other")
    result = stack.send(to=[given], subject=f"To {other}")
    stack.wait_told(result.id, "mail_sent")
    (received,) = sink.mails_to(other)
    assert (received.message["To"], received.message["Subject"]) == (other, "Changed")
    assert received.message["X-Changed"] == "yes"
    assert sink.mails_to(given) == []


def test_a_withdrawn_mail_never_leaves(stack: MailStack, sink: MailSink) -> None:
    to = address(stack, "withdrawn")
    result = stack.send(to=[to], subject="Withdraw")
    with pytest.raises(DeliveryCancelled):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id) == {"mail_cancelled": 1}
    assert (stack.delivery(result.id).status, stack.delivery(result.id).reason) == (Status.CANCELLED, "unsubscribed")
    assert sink.mails_to(to) == []


def test_a_mail_expires_while_the_proxy_is_away(stack: MailStack, sink: MailSink, relay: Relay) -> None:
    to = address(stack, "late")
    came = relay.came
    with relay.drop():
        result = stack.send(to=[to], expires_at=5)
        stack.wait_until(lambda: relay.came > came, what="the submission")
        moment = stack.delivery(result.id).expires_at.timestamp()
        stack.wait_until(lambda: time.time() > moment, what="the moment")
    with pytest.raises(DeliveryExpired):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id) == {"mail_expired": 1, "noted:error": 1}
    assert sink.mails_to(to) == []


def test_metadata_and_tags_arrive_in_the_chained_task(stack: MailStack) -> None:
    labelled = stack.app.signature(f"{MODULE}.labelled")
    result = stack.send(callbacks=False, metadata={"order": 7}, tags=["receipt"], on_sent=labelled)
    stack.wait_told(result.id, "labelled")
    (event,) = [each for each in stack.events if each["id"] == result.id and each["name"] == "labelled"]
    assert event["labels"] == [{"order": 7}, ["receipt"]]
    assert stack.delivery(result.id).labels == {"metadata": {"order": 7}, "tags": ["receipt"]}


def test_a_staging_system_sends_to_nobody_outside(proxy: RealProxy, sink: MailSink, redis_server: RedisServer) -> None:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    tester, caught = f"tester-{tenant.suffix}@lab.example", f"caught-{tenant.suffix}@team.example"
    conf = {"mail_proxy_allowed_recipients": "@lab.example", "mail_proxy_redirect_to": caught}
    with MailStack(tenant, broker_url=redis_server.url, module=MODULE, conf=conf) as stack:
        outside = [address(stack, name) for name in ("to", "cc", "bcc", "handler")]
        results = [
            stack.send(to=[outside[0], tester], cc=[outside[1]], bcc=[outside[2]]),
            # A handler names somebody outside.
            stack.send(to=[tester], subject=f"To {outside[3]}"),
        ]
        for result in results:
            stack.wait_told(result.id, "mail_sent")
    assert [mail for each in outside for mail in sink.mails_to(each)] == []
    assert {str(mail.message["To"]) for mail in sink.mails_to(caught)} == {f"{tester}, {caught}", caught}
    assert "example.com" not in str([mail.message[name] for mail in sink.mails_to(caught) for name in ("To", "Cc")])
