"""Campaigns: a chord over many mails, whose body runs once when the last of them has ended; real workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord

from celery_mailproxy import deliver_many_via_proxy
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error, sent

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from ..conftest import Broker

pytestmark = pytest.mark.integration


def is_done(stack: MailStack, message_id: str) -> bool:
    return is_in(stack, message_id, SuspensionState.DONE)


def is_in(stack: MailStack, message_id: str, state: SuspensionState) -> bool:
    return bool(stack.delivery(message_id).suspension.state is state)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    # This API refuses a mail of an unknown account at once; the other one reports it as an error later.
    with FakeProxy("commands") as proxy:
        proxy.plan("slow@example.com", sent(delay_seconds=1))
        proxy.plan("bad@example.com", error("550 no"))
        proxy.plan("silent@example.com")
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, relay: Relay, broker: Broker, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy)
    conf = {
        "result_backend": redis_server.url_of(6),
        "mail_proxy_store": redis_server.url_of(9),
        "mail_proxy_resume_args_bytes": 200,
    }
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url, conf=conf) as stack:
        yield stack


def mails(*names: str, **arguments: Any) -> list[dict[str, Any]]:
    return [{"to": [f"{name}@example.com"], "subject": f"For {name}", **arguments} for name in names]


def is_queued(result: Any) -> bool:
    return bool(result.state == "QUEUED")


def body(stack: MailStack) -> Any:
    return stack.app.signature(f"{MODULE}.summarise")


def test_the_body_runs_once_when_the_last_mail_has_ended(stack: MailStack) -> None:
    header = deliver_many_via_proxy(mails("ann", "slow", "bob"), app=stack.app, body="Hello")
    result = chord(header, body(stack)).apply_async()
    assert result.get(timeout=PATIENCE_SECONDS) == {"number": 3}
    by_task = {each.id: each.result["message_id"] for each in result.parent.results}
    assert len(set(by_task.values())) == 3
    for task_id, message_id in by_task.items():
        # Its record is written after the result is stored, which lets the body run.
        stack.wait_until(partial(is_done, stack, message_id), what="the end of each")
        assert stack.delivery(message_id).task_id == task_id


def test_a_chunk_is_one_call_to_the_proxy(stack: MailStack, proxy: FakeProxy) -> None:
    before = len(proxy.requests)
    messages = [*mails(*["ann"] * 249), *mails("bob", subject="Own subject")]
    result = chord(
        deliver_many_via_proxy(messages, app=stack.app, body=f"many {stack.queue}"), body(stack)
    ).apply_async()
    assert result.get(timeout=PATIENCE_SECONDS) == {"number": 250}
    # What submits nothing asks which release the proxy is.
    posts = [each for each in proxy.requests[before:] if each.path.endswith("add-messages") and each.json()["messages"]]
    assert len(posts) == 3
    assert sum(message["body"] == f"many {stack.queue}" for message in proxy.delivered) == 250


def test_callbacks_and_states_of_each_mail_are_its_own(stack: MailStack) -> None:
    noted = stack.app.signature(f"{MODULE}.noted", kwargs={"tag": "sent"})
    messages = [*mails("slow", message_id=uuid4().hex), *mails("slow", message_id=uuid4().hex)]
    result = deliver_many_via_proxy(messages, app=stack.app, body="x", on_sent=noted).apply_async()
    for each, message in zip(result.results, messages, strict=True):
        stack.wait_until(partial(is_queued, each), what="the state")
        assert each.info["message_id"] == message["message_id"]
    result.get(timeout=PATIENCE_SECONDS)
    for message in messages:
        stack.wait_told(message["message_id"], "noted:sent")


def test_a_chunk_waits_for_a_proxy_that_is_down_and_is_sent_once(
    stack: MailStack, relay: Relay, proxy: FakeProxy
) -> None:
    came = relay.came
    with relay.drop():
        header = deliver_many_via_proxy(mails("ann", "bob", "cid"), app=stack.app, body=f"down {stack.queue}")
        result = chord(header, body(stack)).apply_async()
        stack.wait_until(lambda: relay.came > came, what="the submission")
    assert result.get(timeout=PATIENCE_SECONDS) == {"number": 3}
    assert sum(message["body"] == f"down {stack.queue}" for message in proxy.delivered) == 3


def test_killed_while_a_chunk_is_submitted(stack: MailStack, relay: Relay, proxy: FakeProxy) -> None:
    passed, taken = relay.passed, stack.worker.log.count("deliver_from_chunk[")
    with relay.hold():
        header = deliver_many_via_proxy(
            mails("ann", "slow", "bob", "slow"), app=stack.app, body=f"killed {stack.queue}"
        )
        result = chord(header, body(stack)).apply_async()
        stack.wait_until(lambda: relay.passed > passed, what="the submission")
        ids = [message["id"] for message in proxy.received[-4:]]
        # A worker that is killed in the moment of taking a message from Redis takes it along: kombu notes what it took
        # after it did. So it has to have taken the four tasks, and the first reports, before it is killed.
        stack.wait_until(
            lambda: stack.worker.log.count("deliver_from_chunk[") >= taken + 4, what="the tasks of the chunk"
        )
        stack.wait_until(lambda: stack.delivery(ids[2]).is_ended, what="the first reports")
        stack.kill_worker()
    stack.worker.start()
    # A proxy tries a report again that nobody took when it is told to.
    stack.wait_until(result.ready, what="the body's result")
    assert result.get() == {"number": 4}
    stack.drain()
    assert sum(message["body"] == f"killed {stack.queue}" for message in proxy.delivered) == 4


def test_without_collect_a_failing_mail_fails_the_chord(stack: MailStack) -> None:
    result = chord(deliver_many_via_proxy(mails("ann", "bad"), app=stack.app, body="x"), body(stack)).apply_async()
    with pytest.raises(Exception, match="was not delivered"):
        result.get(timeout=PATIENCE_SECONDS)


def test_applied_twice_each_mail_is_sent_twice(stack: MailStack, proxy: FakeProxy) -> None:
    header = deliver_many_via_proxy(mails("ann", "bob"), app=stack.app, subject="Common", body=f"twice {stack.queue}")
    for _ in range(2):
        assert len(header.apply_async().get(timeout=PATIENCE_SECONDS)) == 2
    assert sum(message["body"] == f"twice {stack.queue}" for message in proxy.received) == 4


@pytest.mark.parametrize("text", ["short", "longer than what is kept of arguments " * 50], ids=["kept", "left out"])
def test_collect_gives_the_body_every_outcome(stack: MailStack, text: str) -> None:
    messages = [*mails("ann", "slow", "bad"), *mails("cid", account_id="nobody")]
    header = deliver_many_via_proxy(messages, collect=True, app=stack.app, body=text)
    # A task of Celery's own that returns what it gets.
    pass_on = stack.app.signature("celery.accumulate", kwargs={"index": 0})
    results = chord(header, pass_on).apply_async().get(timeout=PATIENCE_SECONDS)
    assert Counter(each["outcome"] for each in results) == {"sent": 2, "error": 1, "rejected": 1}
    by_outcome = {each["outcome"]: each for each in results}
    assert by_outcome["error"]["reason"] == "550 no"
    assert by_outcome["rejected"]["reason"] == "account not found"
    assert by_outcome["sent"]["reason"] is None
    for each in results:
        assert each["report"]["message_id"] == each["message_id"]
        assert each["report"]["kind"] == each["outcome"]


def test_collect_takes_a_mail_in_that_the_worker_refuses(stack: MailStack) -> None:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    render = stack.app.signature(f"{MODULE}.render", args=(7,))
    result = chain(render, task.s(collect=True)).apply_async()
    outcome = result.get(timeout=PATIENCE_SECONDS)
    assert (outcome["message_id"], outcome["outcome"]) == (result.id, "rejected")
    assert outcome["reason"].startswith("to: ")


def test_a_result_that_is_revoked_while_its_mail_waits_leaves_nothing_to_move_on(stack: MailStack) -> None:
    """The messages that resume them have lost their arguments: only their headers name the mails."""
    body = "x" * 300
    campaign = deliver_many_via_proxy(mails("silent", "silent", "silent"), app=stack.app, body=body).apply_async()
    own = stack.app.tasks["celery_mailproxy.deliver_via_proxy"].delay(
        to=["silent@example.com"], body=body, message_id=f"own-{uuid4()}"
    )
    results = [*campaign.results, own]
    for result in results:
        stack.wait_until(partial(is_queued, result), what="the state QUEUED")
    ids = [result.info["message_id"] for result in results]
    for message_id in ids:
        stack.wait_until(partial(is_in, stack, message_id, SuspensionState.WAITING), what="that it waits")
    revoked = [result.id for result in results]
    assert stack.app.control.revoke(revoked, reply=True, limit=1, timeout=PATIENCE_SECONDS)
    stack.post_reports(*({"id": message_id, "sent_ts": int(time.time())} for message_id in ids))
    for message_id in ids:
        stack.wait_until(partial(is_in, stack, message_id, SuspensionState.DONE), what="that it is over")
    assert {result.state for result in results} == {"REVOKED"}
    stalled = get_runtime(stack.app).store.stalled(before=utcnow() + timedelta(days=1), limit=1000)
    assert not set(ids) & {delivery.message_id for delivery in stalled}
