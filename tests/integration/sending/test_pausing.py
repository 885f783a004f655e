"""A campaign on real parts, as `docs/how-to/campaigns.md` has it: paused, counted, resumed, its rest cancelled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy import cancel_many, pause, resume, run_now
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [pytest.mark.integration, pytest.mark.long(30)]


# 0.5.0 knows no batches.
@pytest.fixture(scope="module")
def proxy() -> Iterator[RealProxy]:
    with RealProxy("entities") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: RealProxy, sink: MailSink, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=redis_server.url) as stack:
        yield stack


def send_campaign(stack: MailStack, name: str, number: int) -> list[str]:
    messages = [
        {"subject": "S", "body": "B", "to": [f"{name}-{each}@example.com"], "message_id": f"{name}-{each}"}
        for each in range(number)
    ]
    send_many = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    send_many.delay(messages, batch_code=name, priority="low").get(timeout=PATIENCE_SECONDS)
    return [str(message["message_id"]) for message in messages]


def test_campaign_waits_until_it_is_resumed(stack: MailStack, sink: MailSink) -> None:
    assert pause(batch_code="spring", app=stack.app).pending == 0
    ids = send_campaign(stack, "spring", 30)
    other = stack.send(to=["other@example.com"])
    stack.wait_told(other.id, "mail_sent")
    paused = pause(batch_code="spring", app=stack.app)
    assert (paused.is_paused, paused.pending) == (True, 30)
    assert [each for each in sink.mails if each.rcpt_to[0].startswith("spring")] == []
    assert not resume(batch_code="spring", app=stack.app).is_paused
    run_now(app=stack.app)
    for message_id in ids:
        stack.wait_told(message_id, "mail_sent")
    assert pause(batch_code="spring", app=stack.app).pending == 0


def test_rest_of_a_paused_campaign_is_cancelled(stack: MailStack, sink: MailSink) -> None:
    pause(batch_code="autumn", app=stack.app)
    ids = send_campaign(stack, "autumn", 30)
    answers = cancel_many(ids, app=stack.app)
    # They were due, and the proxy might have had them in its hands.
    assert {each.outcome.value for each in answers} == {"may have been sent"}
    assert resume(batch_code="autumn", app=stack.app).pending == 0
    stack.drain()
    assert [each for each in sink.mails if each.rcpt_to[0].startswith("autumn")] == []
    assert {stack.delivery(each).status.value for each in ids} == {"error"}
