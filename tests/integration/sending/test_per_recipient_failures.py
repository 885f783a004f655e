"""A message for each recipient, while things die: each recipient gets one, and the whole ends once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from celery.result import AsyncResult

from celery_mailproxy import DeliveryError, Status
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.results import stalled
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from ..conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.long(65), pytest.mark.full_with("rabbitmq")]

S = SuspensionState
_numbers = itertools.count(30001)

NAMES = ("ann", "bob", "cid")
SILENT = ("silent", "silent2", "silent3")


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        for name in SILENT:
            proxy.plan(f"{name}@example.com")
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, relay: Relay, broker: Broker, redis_server: RedisServer) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy)
    # One message a call: a worker can die between two of them.
    conf = {"result_backend": redis_server.url_of(7), "mail_proxy_chunk_size": 1, "mail_proxy_max_retries": 2}
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url, conf=conf) as stack:
        yield stack


class Flow:
    """A mail to each of three recipients, with a link that must run once."""

    def __init__(self, stack: MailStack, *names: str) -> None:
        self.stack = stack
        self.number = next(_numbers)
        self.names = names or NAMES
        link = stack.app.signature(f"{MODULE}.add", kwargs={"number": self.number})
        task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
        to = [f"{name}@example.com" for name in self.names]
        mail = {"to": to, "subject": f"Mail {self.number}", "body": "B", "per_recipient": True}
        self.result = task.apply_async(kwargs=mail, link=link)

    @property
    def ids(self) -> list[str]:
        return [f"{self.result.id}-{index}" for index in range(len(self.names))]

    def wait_state(self, *states: SuspensionState) -> None:
        def reached() -> bool:
            delivery = self.stack.delivery(self.result.id)
            return delivery is not None and delivery.suspension.state in states

        self.stack.wait_until(reached, what=f"one of the states {states}")

    def report(self, *indexes: int) -> None:
        entries = [{"id": self.ids[index], "sent_ts": int(time.time())} for index in indexes]
        assert self.stack.post_reports(*entries).status_code == 200

    def wait_sent(self, *indexes: int) -> None:
        for index in indexes:
            self.stack.wait_told(self.ids[index], "mail_sent")

    def assert_once(self, proxy: FakeProxy, *, is_sent: bool = True) -> None:
        """All were sent, the link ran once, and each recipient got one mail."""
        self.stack.wait_until(self.result.ready, what="the result")
        report = self.result.get()
        assert (len(report["sent"]), report["error"]) == (3, {})
        self.wait_state(S.DONE)
        self.stack.drain()
        ran = [event for event in self.stack.events if event["id"] == str(self.number)]
        assert len(ran) == 1
        sent = [m["headers"]["Resent-Bcc"] for m in proxy.delivered if m["subject"] == f"Mail {self.number}"]
        assert sorted(sent) == (sorted(report["sent"]) if is_sent else [])
        for message_id in self.ids:
            assert self.stack.told(message_id)["mail_sent"] >= 1


def test_killed_between_the_last_end_and_the_report_of_the_whole(stack: MailStack, proxy: FakeProxy) -> None:
    flow = Flow(stack, *SILENT)
    flow.wait_state(S.WAITING)
    flow.report(0, 2)
    flow.wait_sent(0, 2)
    hung = stack.hang_at("join", flow.result.id)
    with stack.killed_when(hung.exists, what="the look at the members"):
        flow.report(1)
        stack.wait_until(hung.exists, what="the look at the members")
        assert stack.delivery(flow.ids[1]).status is Status.SENT
        assert stack.delivery(flow.result.id).status is Status.QUEUED
    flow.assert_once(proxy, is_sent=False)


def test_killed_between_the_report_of_the_whole_and_its_publication(stack: MailStack, proxy: FakeProxy) -> None:
    flow = Flow(stack, *SILENT)
    flow.wait_state(S.WAITING)
    hung = stack.hang_at("resume", flow.result.id)
    with stack.killed_when(hung.exists, what="the publication"):
        flow.report(0, 1, 2)
        stack.wait_until(hung.exists, what="the publication")
        assert stack.delivery(flow.result.id).suspension.state is S.REPORTED
    flow.assert_once(proxy, is_sent=False)


def test_killed_in_the_resumed_run(stack: MailStack, proxy: FakeProxy) -> None:
    flow = Flow(stack, *SILENT)
    flow.wait_state(S.WAITING)
    hung = stack.hang_at("publish", flow.result.id)
    with stack.killed_when(hung.exists, what="the publication of the link"):
        flow.report(0, 1, 2)
    flow.assert_once(proxy, is_sent=False)


def test_killed_in_the_midst_of_the_submission(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    passed = relay.passed
    with stack.killed_when(lambda: relay.passed > passed, what="the first of three calls", held=relay.hold()):
        flow = Flow(stack)
        # All are known, whether they have been submitted or not.
        stack.wait_until(lambda: relay.passed > passed, what="the first of three calls")
        assert all(stack.delivery(message_id) is not None for message_id in flow.ids)
    flow.assert_once(proxy)


def test_killed_before_the_first_submission(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    came = relay.came
    with stack.killed_when(lambda: relay.came > came, what="the submission", held=relay.drop()):
        flow = Flow(stack)
    flow.assert_once(proxy)


def test_reports_that_overtake_the_answer_are_taken_by_the_submitting_task(
    proxy: FakeProxy, relay: Relay, redis_server: RedisServer
) -> None:
    tenant = ProxyTenant(proxy=proxy)
    conf = {"result_backend": redis_server.url_of(7)}
    with MailStack(tenant, broker_url=redis_server.url, proxy_url=relay.url, conf=conf) as stack:
        with relay.hold():
            flow = Flow(stack)
            flow.wait_state(S.EARLY)
            assert stack.delivery(flow.result.id).status is Status.SENT
        flow.assert_once(proxy)
        with relay.hold():
            flow = Flow(stack)
            flow.wait_state(S.EARLY)
            stack.kill_worker()
        stack.worker.start()
        flow.assert_once(proxy)


def test_a_proxy_that_stays_away_ends_them_all(stack: MailStack, proxy: FakeProxy) -> None:
    with proxy.down():
        flow = Flow(stack)
        with pytest.raises(DeliveryError, match="3 of 3 recipients"):
            flow.result.get(timeout=PATIENCE_SECONDS)
        assert [stack.delivery(each).status for each in flow.ids] == [Status.ERROR] * 3
        sent = stack.app.tasks["celery_mailproxy.send_via_proxy"].delay(
            to=["ann@example.com", "bob@example.com"], subject="S", body="B", per_recipient=True
        )
        with pytest.raises(Exception, match="proxy"):
            sent.get(timeout=PATIENCE_SECONDS)
        stack.wait_until(lambda: stack.delivery(sent.id).status is Status.ERROR, what="the end")


def test_a_lost_submission_is_taken_up_by_the_janitor(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    with relay.drop():
        flow = Flow(stack)
        flow.wait_state(S.NEW)
        lost = stack.delivery(flow.result.id)
    # The same under another id, of long ago, and without a message at the broker.
    runtime = get_runtime(stack.app)
    task_id = f"lost-{flow.number}"
    since = utcnow() - timedelta(hours=3)
    suspension = replace(lost.suspension, owner=task_id, since=since, state=S.NEW, token=None)
    runtime.store.register([replace(lost, message_id=task_id, task_id=task_id, suspension=suspension, history=())])
    counts = stalled.move_on_stalled(runtime, now=utcnow(), lease_seconds=600, limit=10)
    assert counts["submitted"] == 1
    report: Any = AsyncResult(task_id, app=stack.app).get(timeout=PATIENCE_SECONDS)
    assert report["ids"] == {f"{name}@example.com": f"{task_id}-{n}" for n, name in enumerate(NAMES)}
    assert len(report["sent"]) == 3
    # The mail itself is none of the proxy's messages.
    assert not [message for message in proxy.received if message["id"] in (task_id, flow.result.id)]
    assert len(flow.result.get(timeout=PATIENCE_SECONDS)["sent"]) == 3
