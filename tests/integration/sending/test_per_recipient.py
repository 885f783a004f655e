"""A message for each recipient and one joined result: real brokers and workers, the fake proxy."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from celery import chain, chord

from celery_mailproxy import DeliveryError, Status, deliver_many_via_proxy
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import deferred, error, sent

from ...harness.heard_events import heard_events
from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from ..conftest import Broker
from .per_recipient import address, callbacks, deliver, mail

pytestmark = pytest.mark.integration

S = SuspensionState


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan("bad@example.com", error("550 5.1.1 <bad@example.com> unknown"))
        proxy.plan("worse@example.com", error("554 <worse@example.com> refused"))
        proxy.plan("silent@example.com")
        proxy.plan("later@example.com", deferred(delay_seconds=0.2), sent(delay_seconds=0.8))
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, broker: Broker, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy)
    # The worker's second process ends another member at the same time; small chunks make that frequent.
    conf = {
        "result_backend": redis_server.url_of(7),
        "mail_proxy_dispatch_chunk_size": 1,
        "mail_proxy_chunk_size": 10,
        "mail_proxy_resume_args_bytes": 200,
        "worker_send_task_events": True,
    }
    with MailStack(tenant, broker_url=broker.url, conf=conf) as stack:
        yield stack


def add(stack: MailStack, number: int) -> Any:
    return stack.app.signature(f"{MODULE}.add", kwargs={"number": number})


def ran(stack: MailStack, number: int) -> list[Any]:
    return [event for event in stack.events if event["name"] == "add" and event["id"] == str(number)]


def is_queued(stack: MailStack, message_id: str) -> bool:
    return stack.told(message_id)["mail_queued"] > 0


def test_send_answers_when_the_proxy_has_them_all(stack: MailStack, proxy: FakeProxy) -> None:
    task = stack.app.tasks["celery_mailproxy.send_via_proxy"]
    result = task.delay(**mail("ann", "bad", cc=[address("cid")], bcc=[address("dan")], **callbacks(stack)))
    ids = {address(name): f"{result.id}-{n}" for n, name in enumerate(("ann", "bad", "cid", "dan"))}
    assert result.get(timeout=PATIENCE_SECONDS) == {
        "id": result.id,
        "ids": ids,
        "queued": 4,
        "rejected": [],
        "failed": [],
    }
    # Each is told of its own recipient, and the mail as a whole is none.
    for name, message_id in ids.items():
        outcome = "error" if name.startswith("bad") else "sent"
        stack.wait_told(message_id, "mail_queued", f"mail_{outcome}", f"noted:{outcome}")
    stack.wait_until(lambda: stack.delivery(result.id).status is Status.SENT, what="the end of the whole")
    stack.drain()
    assert not stack.told(result.id)
    whole = stack.delivery(result.id)
    assert "1 of 4 recipients" in whole.reason
    assert whole.queued_at is not None
    mine = [message for message in proxy.received if message["id"] in ids.values()]
    assert {tuple(message["to"]) for message in mine} == {(address("ann"), address("bad"))}
    assert {message["headers"]["Resent-Bcc"]: message["id"] for message in mine} == ids
    assert len({message["message_id"] for message in mine}) == 1


def test_the_result_follows_all_of_them(stack: MailStack) -> None:
    result = deliver(stack, "ann", "bad", "later", bcc=[address("dan")], **callbacks(stack)).delay()
    report = result.get(timeout=PATIENCE_SECONDS)
    assert (report["kind"], report["message_id"]) == ("sent", result.id)
    assert report["sent"] == [address("ann"), address("later"), address("dan")]
    assert report["error"] == {address("bad"): "550 5.1.1 <bad@example.com> unknown"}
    assert list(report["ids"]) == [address(name) for name in ("ann", "bad", "later", "dan")]
    assert stack.told(report["ids"][address("later")])["mail_deferred"] == 1
    stack.wait_told(report["ids"][address("bad")], "noted:error")


def test_it_fails_where_nobody_was_reached(stack: MailStack) -> None:
    result = deliver(stack, "bad", "worse").delay()
    with pytest.raises(DeliveryError) as caught:
        result.get(timeout=PATIENCE_SECONDS)
    assert caught.value.message_id == result.id
    assert caught.value.reason == "2 of 2 recipients did not get it, the first: 550 5.1.1 <bad@example.com> unknown"
    assert stack.delivery(result.id).status is Status.ERROR


def test_with_collect_it_never_fails(stack: MailStack) -> None:
    result = deliver(stack, "bad", "worse", collect=True).delay().get(timeout=PATIENCE_SECONDS)
    assert (result["outcome"], result["sent"]) == ("error", [])
    assert set(result["error"]) == {address("bad"), address("worse")}
    result = deliver(stack, "ann", "worse", collect=True).delay().get(timeout=PATIENCE_SECONDS)
    assert (result["outcome"], result["sent"], list(result["error"])) == ("sent", [address("ann")], [address("worse")])


def test_one_recipient_is_a_message_as_ever(stack: MailStack, proxy: FakeProxy) -> None:
    result = deliver(stack, "ann").delay()
    report = result.get(timeout=PATIENCE_SECONDS)
    assert report["ids"] == {address("ann"): f"{result.id}-0"}
    (message,) = [message for message in proxy.received if message["id"] == f"{result.id}-0"]
    assert not [name for name in message["headers"] if name.startswith("Resent-")]


def test_a_chain_and_a_campaign_go_on(stack: MailStack) -> None:
    assert chain(deliver(stack, "ann", "later"), add(stack, 71)).apply_async().get(timeout=PATIENCE_SECONDS) == 71
    (event,) = ran(stack, 71)
    assert event["value"]["sent"] == [address("ann"), address("later")]
    mails = [{"to": [address("ann"), address("bad")], "subject": "1"}, {"to": [address("bad")], "subject": "2"}]
    header = deliver_many_via_proxy(mails, per_recipient=True, collect=True, app=stack.app, body="x")
    pass_on = stack.app.signature("celery.accumulate", kwargs={"index": 0})
    results = chord(header, pass_on).apply_async().get(timeout=PATIENCE_SECONDS)
    assert Counter(each["outcome"] for each in results) == {"sent": 1, "error": 1}
    assert results[0]["sent"] == [address("ann")]


def test_a_long_list_ends_once(stack: MailStack, proxy: FakeProxy) -> None:
    names = [f"many{number}" for number in range(240)]
    subject = f"Long list {stack.tenant.suffix}"
    result = deliver(stack, *names, subject=subject).apply_async(link=add(stack, 72))
    report = result.get(timeout=PATIENCE_SECONDS)
    assert len(report["sent"]) == 240
    stack.wait_until(lambda: ran(stack, 72), what="the link")
    stack.drain()
    assert len(ran(stack, 72)) == 1
    # One delivery to each, whatever To shows.
    delivered = [m["headers"]["Resent-Bcc"] for m in proxy.delivered if m["subject"] == subject]
    assert sorted(delivered) == sorted(address(name) for name in names)


def test_members_that_end_at_once_in_two_workers_end_the_whole_once(stack: MailStack) -> None:
    for number in range(80, 90):
        result = deliver(stack, "silent", "silent2", cc=["silent@example.org"]).apply_async(link=add(stack, number))
        ids = [f"{result.id}-{n}" for n in range(3)]
        stack.wait_until(partial(is_queued, stack, ids[2]), what="the submission")
        entries = [{"id": each, "sent_ts": int(time.time())} for each in ids]
        # A chunk of one report each: two processes have them at the same time; and all of them twice.
        assert stack.post_reports(*entries, *reversed(entries)).status_code == 200
        assert len(result.get(timeout=PATIENCE_SECONDS)["sent"]) == 3
        stack.wait_until(partial(ran, stack, number), what="the link")
    stack.drain()
    assert [len(ran(stack, number)) for number in range(80, 90)] == [1] * 10


def test_no_address_reaches_a_log_or_an_event(stack: MailStack) -> None:
    # The tests before this one have tasks of their own, which return what they get.
    begin = len(stack.worker.log)
    names = ("private-person", "bad")
    with heard_events(stack.app) as heard:
        results = [
            deliver(stack, *names).delay(),
            deliver(stack, "bad", cc=[address("private-person")], collect=True).delay(),
            stack.app.tasks["celery_mailproxy.send_via_proxy"].delay(**mail(*names)),
            # A reason that quotes the address: of a collected result, and of a failed one.
            deliver(stack, "bad", collect=True, per_recipient=False).delay(),
            deliver(stack, "bad", "worse").delay(),
        ]
        for result in results[:-1]:
            assert "bad@example.com" in repr(result.get(timeout=PATIENCE_SECONDS))
        with pytest.raises(DeliveryError):
            results[-1].get(timeout=PATIENCE_SECONDS)
        ids = {result.id for result in results}
        ends = ("task-succeeded", "task-failed")
        stack.wait_until(lambda: ids <= {e.get("uuid") for e in heard if e["type"] in ends}, what="the events")
    log = stack.worker.log[begin:]
    assert log.count("succeeded in") >= len(results)
    for text in (log, repr(heard)):
        assert "@example.com" not in text
