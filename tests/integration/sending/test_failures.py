"""Promises, tested by killing things: no mail lost, none twice, each outcome told."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending.troubles import trouble_of
from celery_mailproxy.testing import MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RabbitServer, RedisServer
from ...harness.waiting import PATIENCE_SECONDS
from ..conftest import Broker

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long(200),
    pytest.mark.full_with("commands", "rabbitmq"),
    pytest.mark.full_with("entities", "redis"),
]

#: What the listener logs of reports that the broker did not take.
NOT_KEPT = "could not be kept; the proxy will send them again"

DONE = {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}


@pytest.fixture(scope="module")
def proxy(real_proxy: RealProxy) -> RealProxy:
    return real_proxy


@pytest.fixture(scope="module")
def stack(proxy: RealProxy, sink: MailSink, broker: Broker, relay: Relay) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url) as stack:
        yield stack


class Sent:
    """A mail to an address of its own, by whose number of arrivals `assert_once` tells."""

    _numbers = itertools.count(1)

    def __init__(self, stack: MailStack, sink: MailSink, **mail: Any) -> None:
        self.stack, self.sink = stack, sink
        self.address = f"to{next(self._numbers)}-{stack.tenant.suffix}@example.com"
        self.result = stack.send(to=[self.address], **mail)
        self.id = self.result.id

    def assert_once(self) -> None:
        self.stack.wait_told(self.id, *DONE)
        self.stack.drain()
        assert self.stack.told(self.id) == DONE
        assert len(self.sink.mails_to(self.address)) == 1


@contextmanager
def no_reports(stack: MailStack) -> Iterator[None]:
    """The proxy reports nothing in this block: what is killed in the midst of a report tells of it again."""
    stack.tenant.proxy.suspend(stack.tenant.id)
    try:
        yield
    finally:
        stack.tenant.proxy.activate(stack.tenant.id)


def test_a_worker_killed_between_submission_and_return_sends_once(
    stack: MailStack, sink: MailSink, relay: Relay
) -> None:
    passed = relay.passed
    with (
        no_reports(stack),
        stack.killed_when(lambda: relay.passed > passed, what="the submission", held=relay.hold()),
    ):
        mail = Sent(stack, sink)
    mail.assert_once()


def test_a_report_that_overtakes_the_answer_is_not_lost(stack: MailStack, sink: MailSink, relay: Relay) -> None:
    with relay.hold():
        mail = Sent(stack, sink)
        stack.wait_told(mail.id, "mail_sent", "noted:sent")
        assert "mail_queued" not in stack.told(mail.id)
    stack.wait_told(mail.id, "mail_queued")
    assert mail.result.get(timeout=PATIENCE_SECONDS)["queued"] == 1
    mail.assert_once()


def test_a_worker_killed_between_record_and_dispatch_goes_on_where_it_was(stack: MailStack) -> None:
    ids = [stack.tenant.message_id(f"killed-{n}") for n in range(4)]
    for message_id in ids:
        stack.send(message_id=message_id, send_at=time.time() + 3600)
        stack.wait_told(message_id, "mail_queued")
    hung = stack.hang_where_told(ids[1], "sent")
    now = int(time.time())
    with stack.killed_when(hung.exists, what="the handler"):
        # One batch: the first is told, the worker dies in the second, the others are recorded and not yet told.
        answer = stack.post_reports(*({"id": each, "sent_ts": now + n} for n, each in enumerate(ids)))
        assert answer.status_code == 200
    for message_id in ids:
        stack.wait_told(message_id, *DONE)
    stack.drain()
    assert [stack.told(each)["mail_sent"] for each in ids] == [1, 2, 1, 1]
    # The callback of the very report is published again, under the same task id.
    task_ids = {e["task_id"] for e in stack.events if e["id"] == ids[1] and e["name"] == "noted:sent"}
    assert len(task_ids) == 1


def test_a_pool_process_that_is_killed_gives_its_mail_back(stack: MailStack, sink: MailSink, relay: Relay) -> None:
    passed, before = relay.passed, stack.worker.log.count("WorkerLostError")
    with no_reports(stack), relay.hold():
        mail = Sent(stack, sink)
        stack.wait_until(lambda: relay.passed > passed, what="the submission")
        stack.worker.kill_pool()
        stack.wait_until(lambda: stack.worker.log.count("WorkerLostError") > before, what="the loss is noticed")
    mail.assert_once()


@pytest.mark.parametrize("broker", ["redis"], indirect=True)
def test_an_answer_that_never_comes_is_asked_for_again_with_the_same_id(
    stack: MailStack, sink: MailSink, relay: Relay
) -> None:
    relay.swallow_next(2)
    mail = Sent(stack, sink)
    mail.assert_once()
    assert mail.result.get(timeout=PATIENCE_SECONDS)["queued"] == 1


def _own_broker(kind: str) -> Callable[[], Broker]:
    return RedisServer if kind == "redis" else RabbitServer


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_reports_wait_at_the_proxy_while_the_broker_is_down(
    kind: str, tenant: ProxyTenant, mail_sink: MailSink, request: pytest.FixtureRequest
) -> None:
    # Its own broker, to be killed; the shared one is asked for so that a missing service is said in one place.
    request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[kind])
    with _own_broker(kind)() as broker, MailStack(tenant, broker_url=broker.url) as stack:
        first = tenant.message_id("first")
        second = tenant.message_id("second")
        # No report comes before the broker is gone.
        tenant.proxy.suspend(tenant.id)
        for message_id in (first, second):
            stack.send(message_id=message_id)
            stack.wait_told(message_id, "mail_queued")
        stack.wait_acknowledged()
        broker.kill()
        refused = stack.post_reports({"id": first, "sent_ts": int(time.time())})
        assert refused.status_code == 503
        # The real proxy reports now, and is refused in the same way.
        refusals = stack.worker.log.count(NOT_KEPT)
        tenant.proxy.activate(tenant.id)
        stack.wait_until(lambda: len(mail_sink.mails) == 2, what="two mails")
        stack.wait_until(lambda: stack.worker.log.count(NOT_KEPT) > refusals, what="the proxy's report is refused")
        broker.start()
        stack.worker.stop()
        stack.worker.start()
        stack.wait_until(lambda: stack.post_reports().status_code == 200, what="the listener")

        for message_id in (first, second):
            stack.wait_told(message_id, *DONE)
        stack.drain()
        assert stack.told(first) == stack.told(second) == DONE
        assert len(mail_sink.mails) == 2


@pytest.mark.parametrize("api", ["commands", "entities"])
def test_mail_waits_while_the_proxy_is_down(api: str, mail_sink: MailSink, redis_server: RedisServer) -> None:
    with RealProxy(api) as proxy:  # type: ignore[arg-type]
        tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        with MailStack(tenant, broker_url=redis_server.url) as stack:
            proxy.kill()
            result = stack.send()
            stack.wait_until(lambda: stack.worker.log.count("Retry in") >= 3, what="three retries")
            proxy.start()
            stack.wait_told(result.id, *DONE)
            stack.drain()
            assert stack.told(result.id) == DONE
            assert len(mail_sink.mails) == 1


def test_a_mail_ends_as_error_when_its_retries_are_used_up(tenant: ProxyTenant, redis_server: RedisServer) -> None:
    conf = {"mail_proxy_max_retries": 2}
    with MailStack(tenant, broker_url=redis_server.url, proxy_url="http://127.0.0.1:9", conf=conf) as stack:
        result = stack.send()
        stack.wait_told(result.id, "mail_error", "noted:error")
        with pytest.raises(Exception, match="no connection to the proxy"):
            result.get(timeout=PATIENCE_SECONDS)
        stack.drain()
        assert stack.told(result.id) == {"mail_error": 1, "noted:error": 1}
        assert stack.delivery(result.id).status.value == "error"


def test_a_wrong_token_makes_mails_wait_until_it_is_right(
    tenant: ProxyTenant, redis_server: RedisServer, mail_sink: MailSink
) -> None:
    # With no retries at all: these do not count.
    conf = {"mail_proxy_token": "wrong", "mail_proxy_max_retries": 0}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        results = [stack.send(), stack.send()]
        for result in results:
            # The third try is at hand: what counts the tries has travelled twice.
            stack.worker.wait_for_log(rf"send_via_proxy\[{result.id}\] retry(?s:.*){result.id}\] retry")
        assert (
            len(
                re.findall(
                    r"emails? waits? for the proxy 'default': .*answered 401.*Set mail_proxy_token", stack.worker.log
                )
            )
            == 1
        )
        trouble = trouble_of(get_runtime(stack.app), "default")
        assert trouble is not None
        assert "Set mail_proxy_token" in (trouble.remedy or "")
        assert all(not stack.told(result.id) for result in results)
        stack.kill_worker()
        right = {**stack.conf, "mail_proxy_token": tenant.proxy.token}
        stack.worker.env["TEST_CONF"] = json.dumps(right)
        stack.worker.start()
        for result in results:
            stack.wait_told(result.id, *DONE)
        assert trouble_of(get_runtime(stack.app), "default") is None
    assert len(mail_sink.mails) == 2
