"""A result that follows the mail, while things die: nothing lost, nothing twice, each result once."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from celery import chain, chord

from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import sent

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RedisServer
from ..conftest import Broker

pytestmark = [pytest.mark.integration, pytest.mark.long(75), pytest.mark.full_with("rabbitmq")]

S = SuspensionState
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan("silent@example.com")
        proxy.plan("slow@example.com", sent(delay_seconds=1.5))
        yield proxy


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, relay: Relay, broker: Broker, redis_server: RedisServer) -> Iterator[MailStack]:
    with _stack(proxy, broker.url, redis_server, proxy_url=relay.url) as stack:
        yield stack


@contextmanager
def _stack(
    proxy: FakeProxy, broker_url: str, backend: RedisServer, *, more_conf: dict[str, Any] | None = None, **options: Any
) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy)
    conf = {"result_backend": backend.url_of(6), **(more_conf or {})}
    with MailStack(tenant, broker_url=broker_url, conf=conf, **options) as stack:
        yield stack


class Flow:
    """A mail with a link, in a chain: what must happen once is counted by numbers of its own."""

    def __init__(self, stack: MailStack, to: str = "ann") -> None:
        self.stack = stack
        self.link, self.next = f"1{next(_numbers):04}", f"2{next(_numbers):04}"
        task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
        mail = task.s(to=[f"{to}@example.com"], subject=f"Mail {self.link}", body="B")
        mail.link(self._add(self.link))
        self.last = chain(mail, self._add(self.next)).apply_async()
        self.mail = self.last.parent

    def _add(self, number: str) -> Any:
        return self.stack.app.signature(f"{MODULE}.add", kwargs={"number": int(number)})

    def wait_state(self, state: SuspensionState) -> None:
        _wait_state(self.stack, self.mail.id, state)

    @property
    def recorded(self) -> list[Kind]:
        """The kinds of the reports that the store has of the mail."""
        return [entry.report.kind for entry in self.stack.delivery(self.mail.id).history]

    def assert_once(self, proxy: FakeProxy, *, is_sent: bool = True) -> None:
        """The result, the link and the next of the chain came once; the mail was sent once."""
        self.stack.wait_until(self.last.ready, what="the result")
        assert self.last.get() == int(self.next)
        self.wait_state(S.DONE)
        self.stack.drain()
        assert self.mail.state == "SUCCESS"
        assert self.mail.result["kind"] == "sent"
        ran = [event["id"] for event in self.stack.events if event["name"] == "add"]
        assert (ran.count(self.link), ran.count(self.next)) == (1, 1)
        assert [m["subject"] for m in proxy.delivered].count(f"Mail {self.link}") == int(is_sent)

    def report(self, **fields: Any) -> int:
        """The status of the receiver's answer; 0 where there was none: the proxy keeps the report then, too."""
        try:
            return self.stack.post_reports({"id": self.mail.id, **fields}).status_code
        except httpx.TransportError:
            return 0


# kill -9, at each of the five points


def test_killed_before_the_post(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    came = relay.came
    with stack.killed_when(lambda: relay.came > came, what="the submission", held=relay.drop()):
        flow = Flow(stack)
    flow.assert_once(proxy)


def test_killed_after_the_post(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    passed = relay.passed
    with stack.killed_when(lambda: relay.passed > passed, what="the submission", held=relay.hold()):
        flow = Flow(stack, "slow")
    flow.assert_once(proxy)


def test_killed_after_the_mark(stack: MailStack, proxy: FakeProxy) -> None:
    # The id is known only now: the gate is set while the first worker has not begun.
    stack.worker.stop()
    flow = Flow(stack, "slow")
    hung = stack.hang_at("postrun", flow.mail.id)
    with stack.killed_when(hung.exists, what="the end of the first run"):
        stack.worker.start()
        stack.wait_until(hung.exists, what="the end of the first run")
        assert stack.delivery(flow.mail.id).suspension.state in (S.WAITING, S.REPORTED, S.PUBLISHED)
    flow.assert_once(proxy)


def test_killed_with_the_report_first(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    with relay.hold():
        flow = Flow(stack)
        flow.wait_state(S.EARLY)
        stack.kill_worker()
    stack.worker.start()
    flow.assert_once(proxy)


def test_killed_in_the_resumed_run(stack: MailStack, proxy: FakeProxy) -> None:
    flow = Flow(stack, "silent")
    flow.wait_state(S.WAITING)
    hung = stack.hang_at("publish", flow.mail.id)
    with stack.killed_when(hung.exists, what="the publication of the link"):
        assert flow.report(sent_ts=int(time.time())) == 200
        stack.wait_until(hung.exists, what="the publication of the link")
        assert stack.delivery(flow.mail.id).suspension.state is S.RUNNING
    flow.assert_once(proxy, is_sent=False)


# Reports at the wrong time


def test_a_report_that_overtakes_the_answer(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    with relay.hold():
        flow = Flow(stack)
        flow.wait_state(S.EARLY)
    flow.assert_once(proxy)


def test_early_reports_in_the_wrong_order(stack: MailStack, proxy: FakeProxy, relay: Relay) -> None:
    now = int(time.time())
    with relay.hold():
        passed = relay.passed
        flow = Flow(stack, "silent")
        stack.wait_until(lambda: relay.passed > passed, what="the submission")
        assert flow.report(sent_ts=now) == 200
        flow.wait_state(S.EARLY)
        assert flow.report(deferred_ts=now - 5, deferred_reason="451 later") == 200
        # What comes now is recorded and changes nothing: the mail has ended.
        stack.wait_until(lambda: Kind.DEFERRED in flow.recorded, what="the record of the second report")
    flow.assert_once(proxy, is_sent=False)


def test_a_worker_that_is_restarted_while_the_mail_is_under_way(stack: MailStack, proxy: FakeProxy) -> None:
    flow = Flow(stack, "silent")
    flow.wait_state(S.WAITING)
    stack.worker.stop()
    stack.worker.start()
    assert flow.mail.state == "QUEUED"
    assert flow.report(sent_ts=int(time.time())) == 200
    flow.assert_once(proxy, is_sent=False)


def test_a_report_while_the_broker_is_down(proxy: FakeProxy, redis_server: RedisServer) -> None:
    with ExitStack() as opened:
        broker = opened.enter_context(RedisServer())
        stack = opened.enter_context(_stack(proxy, broker.url, redis_server))
        flow = Flow(stack, "silent")
        flow.wait_state(S.WAITING)
        stack.wait_acknowledged()
        broker.kill()
        assert flow.report(sent_ts=int(time.time())) == 503
        broker.start()
        stack.worker.stop()
        stack.worker.start()
        stack.wait_until(lambda: flow.report(sent_ts=int(time.time())) == 200, what="the listener")
        flow.assert_once(proxy, is_sent=False)


def test_a_result_backend_that_is_down_when_a_mail_has_ended(proxy: FakeProxy, redis_server: RedisServer) -> None:
    """What was sent is a success, and a chord of such mails completes once, as soon as the backend is back."""
    brief = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}
    conf = {"result_backend_transport_options": {"retry_policy": brief}}
    with ExitStack() as opened:
        backend = opened.enter_context(RedisServer())
        stack = opened.enter_context(_stack(proxy, redis_server.url, backend, more_conf=conf))
        flows = [Flow(stack, "silent") for _ in range(2)]
        body = stack.app.signature(f"{MODULE}.summarise")
        mails = [stack.app.tasks["celery_mailproxy.deliver_via_proxy"].s(**_silent(n)) for n in range(3)]
        whole = chord(mails, body).apply_async()
        for flow in flows:
            flow.wait_state(S.WAITING)
        for part in whole.parent.results:
            _wait_state(stack, part.id, S.WAITING)
        backend.kill()
        ids = [*(flow.mail.id for flow in flows), *(part.id for part in whole.parent.results)]
        now = int(time.time())
        ends = [{"id": each, "sent_ts": now} for each in ids[1:]]
        # One of them was not sent: its failure is stored later, too.
        assert stack.post_reports({"id": ids[0], "error_ts": now, "error": "550 no"}, *ends).status_code == 200
        stack.wait_until(lambda: stack.worker.log.count("its result is stored later") == len(ids), what="all runs")
        backend.start()
        for each in ids:
            _wait_state(stack, each, S.DONE)
        failed, sent = flows
        states = [_state(backend, each) for each in ids]
        assert states == ["FAILURE", "SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS"]
        stack.wait_until(lambda: _state(backend, whole.id) == "SUCCESS", what="the chord's body")
        stack.drain()
        ran = [(event["name"], event["id"]) for event in stack.events if event["what"] == "task"]
        assert ran.count(("summarise", "chord")) == 1
        assert [ran.count(("add", number)) for number in (sent.link, sent.next)] == [1, 1]
        assert [ran.count(("add", number)) for number in (failed.link, failed.next)] == [0, 0]


def _silent(number: int) -> dict[str, Any]:
    return {"to": ["silent@example.com"], "subject": f"Part {number}", "body": "B"}


def _wait_state(stack: MailStack, message_id: str, state: SuspensionState) -> None:
    def reached() -> bool:
        delivery = stack.delivery(message_id)
        return delivery is not None and delivery.suspension.state is state

    stack.wait_until(reached, what=f"the state {state} of {message_id}")


def _state(backend: RedisServer, task_id: str) -> str | None:
    """The state of a result as it is stored: the publisher's own connection is that of the backend that was killed."""
    with backend.client(6) as client:
        value = client.get(f"celery-task-meta-{task_id}")
    return json.loads(value)["status"] if value else None
