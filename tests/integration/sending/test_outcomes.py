"""The main job on real parts: both APIs, a prefork worker on Redis and on RabbitMQ."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.full_with("commands", "rabbitmq"),
    pytest.mark.full_with("entities", "redis"),
]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    fixture = {"redis": "redis_server", "rabbitmq": "rabbit_server"}[request.param]
    return str(request.getfixturevalue(fixture).url)


@pytest.fixture(scope="module")
def stack(real_proxy: RealProxy, broker_url: str, sink: MailSink) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=broker_url, conf={"mail_proxy_chunk_size": 10}) as stack:
        yield stack


def test_a_sent_mail_fires_its_signals_and_its_chained_task_once(stack: MailStack, sink: MailSink) -> None:
    recipient = f"ann-{stack.tenant.suffix}@example.com"
    result = stack.send(to=[recipient], subject="Grüße", body="Hallo")
    stack.wait_told(result.id, "mail_queued", "mail_sent", "noted:sent")
    stack.drain()
    assert stack.told(result.id) == {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}
    assert result.get(timeout=PATIENCE_SECONDS) == {"id": result.id, "queued": 1, "rejected": []}
    assert [mail.message["Subject"] for mail in sink.mails_to(recipient)] == ["Grüße"]
    delivery = stack.delivery(result.id)
    assert delivery.status is Status.SENT
    assert delivery.sent_at is not None


def test_a_stack_that_is_drained_has_told_all_there_is(stack: MailStack) -> None:
    # Each `never` in this suite rests on it: nothing else is waited for here.
    add = stack.app.signature(f"{MODULE}.add", kwargs={"number": 1})
    add.apply_async(countdown=1, link=stack.app.signature(f"{MODULE}.add", kwargs={"number": 2}))
    result = stack.send()
    stack.drain()
    assert stack.told(result.id) == {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}
    assert (stack.told("1"), stack.told("2")) == ({"add": 1}, {"add": 1})


def test_a_mail_that_is_given_up_fires_error(stack: MailStack) -> None:
    result = stack.send(to=["spam@example.com"])
    stack.wait_told(result.id, "mail_queued", "mail_error", "noted:error")
    stack.drain()
    assert stack.told(result.id) == {"mail_queued": 1, "mail_error": 1, "noted:error": 1}
    assert "554" in stack.delivery(result.id).reason


def test_a_deferred_mail_fires_deferred(stack: MailStack) -> None:
    if stack.tenant.proxy.api == "commands":
        # This API never reports deferred: the mail stays queued, and nothing else is told.
        result = stack.send(to=["later@example.com"])
        stack.wait_told(result.id, "mail_queued")
        stack.drain()
        assert stack.told(result.id) == {"mail_queued": 1}
        return
    result = stack.send(to=["later@example.com"])
    stack.wait_told(result.id, "mail_queued", "mail_deferred", "noted:deferred")
    stack.drain()
    assert stack.told(result.id) == {"mail_queued": 1, "mail_deferred": 1, "noted:deferred": 1}
    assert stack.delivery(result.id).status is Status.DEFERRED


def test_duplicated_reordered_and_concatenated_batches_change_nothing(stack: MailStack) -> None:
    result = stack.send(to=["bob@example.com"])
    stack.wait_told(result.id, "mail_queued", "mail_sent", "noted:sent")
    before = stack.told(result.id)
    sent = next(e.report.raw for e in stack.delivery(result.id).history if e.report.kind.value == "sent")
    late = {"id": result.id, "deferred_ts": int(time.time()) - 60, "deferred_reason": "late"}
    for batch in ([sent], [sent, sent], [sent, late], [late, sent, late, sent]):
        assert stack.post_reports(*batch).status_code == 200
    stack.drain()
    assert stack.told(result.id) == before
    assert stack.delivery(result.id).status is Status.SENT


def dispatches(stack: MailStack) -> int:
    """How many tasks that dispatch reports the worker has received."""
    return len(re.findall(r"dispatch_reports\[\S+\] received", stack.worker.log))


def test_a_report_before_its_message_is_registered_waits_for_it(stack: MailStack) -> None:
    message_id = stack.tenant.message_id(f"early-{time.time_ns()}")
    stack.drain()
    came = dispatches(stack)
    assert stack.post_reports({"id": message_id, "sent_ts": int(time.time())}).status_code == 200
    # The report was looked at once, and its task has come back to wait for the next look.
    stack.wait_until(lambda: dispatches(stack) >= came + 2, what="the report is parked")
    assert not stack.told(message_id)
    stack.send(message_id=message_id)
    stack.wait_told(message_id, "mail_queued", "mail_sent", "noted:sent")
    stack.drain()
    # The real report of the real sending is another one by its time, or the same: either way told once.
    assert stack.told(message_id) == {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}


def test_a_rejected_mail_ends_at_once_and_fires_error(stack: MailStack) -> None:
    result = stack.send(account_id="nobody")
    if stack.tenant.proxy.api == "entities":
        # This API takes the message and reports the error later.
        stack.wait_told(result.id, "mail_queued", "mail_error", "noted:error")
        return
    stack.wait_told(result.id, "mail_rejected", "noted:error")
    with pytest.raises(Exception, match="account not found"):
        result.get(timeout=PATIENCE_SECONDS)
    stack.drain()
    assert stack.told(result.id) == {"mail_rejected": 1, "noted:error": 1}
    assert stack.delivery(result.id).status is Status.REJECTED


def test_many_mails_go_in_chunks_and_each_is_told(stack: MailStack, sink: MailSink) -> None:
    task = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    recipients = [f"many{n}-{stack.tenant.suffix}@example.com" for n in range(25)]
    mails = [{"to": [recipient], "subject": "x", "body": "x"} for recipient in recipients]
    group = task.delay(mails)
    results = group.get(timeout=PATIENCE_SECONDS, disable_sync_subtasks=False)
    assert [result["queued"] for result in results] == [10, 10, 5]
    ids = [message_id for result in results for message_id in result["ids"]]
    assert len(set(ids)) == 25
    for message_id in ids:
        stack.wait_told(message_id, "mail_queued", "mail_sent")
    assert all(len(sink.mails_to(recipient)) == 1 for recipient in recipients)


def test_a_rejected_message_does_not_take_its_neighbours_down(stack: MailStack, sink: MailSink) -> None:
    task = stack.app.tasks["celery_mailproxy.send_many_via_proxy"]
    mails: list[dict[str, Any]] = [{"to": [f"neighbour{n}@example.com"], "subject": "x", "body": "x"} for n in range(3)]
    mails[1]["account_id"] = "nobody"
    (result,) = task.delay(mails).get(timeout=PATIENCE_SECONDS, disable_sync_subtasks=False)
    expected = 2 if stack.tenant.proxy.api == "commands" else 3
    assert result["queued"] == expected
    stack.wait_told(result["ids"][0], "mail_sent")
    stack.wait_told(result["ids"][2], "mail_sent")
    stack.wait_until(lambda: {"mail_rejected", "mail_error"} & stack.told(result["ids"][1]).keys())
    assert not sink.mails_to("neighbour1@example.com")


def test_nothing_private_is_logged(stack: MailStack) -> None:
    result = stack.send(to=["Private Person <private@example.com>"], subject="Hush", body="the secret body")
    stack.wait_told(result.id, "noted:sent")
    result = stack.send(to=["spam-private@example.com"], body="the secret body")
    stack.wait_told(result.id, "noted:error")
    for private in (
        "private@example.com",
        "the secret body",
        "Hush",
        stack.tenant.sync_token,
        stack.tenant.proxy.token,
    ):
        assert private not in stack.worker.log
