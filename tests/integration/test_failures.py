"""Promises, tested by killing things: no mail lost, none twice, each outcome told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from celery_mailproxy.testing import MailSink, RealProxy

from ..harness.mail_stack import MailStack
from ..harness.proxy_tenant import ProxyTenant
from ..harness.relay import Relay
from ..harness.services import RabbitServer, RedisServer

pytestmark = pytest.mark.integration

DONE = {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}

Broker = RedisServer | RabbitServer


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """A broker that the test does not stop."""
    server: Broker = request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[request.param])
    return server


@pytest.fixture
def relay(real_proxy: RealProxy) -> Iterator[Relay]:
    with Relay(real_proxy.url) as relay:
        yield relay


def test_a_worker_killed_between_submission_and_return_sends_once(
    tenant: ProxyTenant, mail_sink: MailSink, broker: Broker, relay: Relay
) -> None:
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url) as stack:
        with relay.hold():
            result = stack.send()
            stack.wait_until(lambda: relay.passed, what="the submission")
            stack.worker.kill()
        stack.worker.start()
        stack.wait_told(result.id, *DONE, timeout_seconds=60)
        stack.settle()
        assert stack.told(result.id) == DONE
        assert len(mail_sink.mails) == 1


def test_a_report_that_overtakes_the_answer_is_not_lost(
    tenant: ProxyTenant, mail_sink: MailSink, broker: Broker, relay: Relay
) -> None:
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url) as stack:
        with relay.hold():
            result = stack.send()
            stack.wait_told(result.id, "mail_sent", "noted:sent")
            assert "mail_queued" not in stack.told(result.id)
        stack.wait_told(result.id, "mail_queued")
        assert result.get(timeout=10)["queued"] == 1
        stack.settle()
        assert stack.told(result.id) == DONE
        assert len(mail_sink.mails) == 1


def test_an_answer_that_never_comes_is_asked_for_again_with_the_same_id(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, relay: Relay
) -> None:
    with MailStack(tenant, broker_url=redis_server.url, proxy_url=relay.url) as stack:
        relay.swallow_next(2)
        result = stack.send()
        stack.wait_told(result.id, *DONE)
        assert result.get(timeout=10)["queued"] == 1
        stack.settle()
        assert stack.told(result.id) == DONE
        assert len(mail_sink.mails) == 1


def test_a_worker_killed_between_record_and_dispatch_goes_on_where_it_was(
    tenant: ProxyTenant, mail_sink: MailSink, broker: Broker
) -> None:
    with MailStack(tenant, broker_url=broker.url) as stack:
        ids = [tenant.message_id(f"killed-{n}") for n in range(4)]
        for message_id in ids:
            stack.send(message_id=message_id, send_at=time.time() + 3600)
            stack.wait_told(message_id, "mail_queued")
        hung = stack.hang_where_told(ids[1], "sent")
        now = int(time.time())
        # One batch: the first is told, the worker dies in the second, the others are recorded and not yet told.
        answer = stack.post_reports(*({"id": each, "sent_ts": now + n} for n, each in enumerate(ids)))
        assert answer.status_code == 200
        stack.wait_until(hung.exists, what="the handler")
        stack.worker.kill()
        stack.worker.start()
        for message_id in ids:
            stack.wait_told(message_id, *DONE, timeout_seconds=60)
        stack.settle()
        assert [stack.told(each)["mail_sent"] for each in ids] == [1, 2, 1, 1]
        # The callback of the very report is published again, under the same task id.
        task_ids = {e["task_id"] for e in stack.events if e["id"] == ids[1] and e["name"] == "noted:sent"}
        assert len(task_ids) == 1


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
        for message_id in (first, second):
            stack.send(message_id=message_id, send_at=time.time() + 3)
            stack.wait_told(message_id, "mail_queued")
        broker.kill()
        begin = time.monotonic()
        refused = stack.post_reports({"id": first, "sent_ts": int(time.time())})
        assert refused.status_code == 503
        assert time.monotonic() - begin < 20
        # The real proxy sends now, and is refused in the same way.
        stack.wait_until(lambda: len(mail_sink.mails) == 2, what="two mails")
        time.sleep(1)
        broker.start()
        stack.worker.stop()
        stack.worker.start()
        stack.wait_until(lambda: stack.post_reports().status_code == 200, what="the listener")

        for message_id in (first, second):
            stack.wait_told(message_id, *DONE, timeout_seconds=60)
        stack.settle()
        assert stack.told(first) == stack.told(second) == DONE
        assert len(mail_sink.mails) == 2


@pytest.mark.parametrize("api", ["commands", "entities"])
def test_mail_waits_while_the_proxy_is_down(api: str, mail_sink: MailSink, redis_server: RedisServer) -> None:
    with RealProxy(api) as proxy:  # type: ignore[arg-type]
        tenant = ProxyTenant(proxy=proxy, smtp_host=mail_sink.host, smtp_port=mail_sink.port).add()
        with MailStack(tenant, broker_url=redis_server.url) as stack:
            proxy.kill()
            result = stack.send()
            stack.wait_until(lambda: stack.worker.log.count("Retry in") >= 3, what="three retries")
            proxy.start()
            stack.wait_told(result.id, *DONE)
            stack.settle()
            assert stack.told(result.id) == DONE
            assert len(mail_sink.mails) == 1


def test_a_mail_ends_as_error_when_its_retries_are_used_up(tenant: ProxyTenant, redis_server: RedisServer) -> None:
    conf = {"mail_proxy_max_retries": 2}
    with MailStack(tenant, broker_url=redis_server.url, proxy_url="http://127.0.0.1:9", conf=conf) as stack:
        result = stack.send()
        stack.wait_told(result.id, "mail_error", "noted:error")
        with pytest.raises(Exception, match="no connection to the proxy"):
            result.get(timeout=10)
        stack.settle(0.5)
        assert stack.told(result.id) == {"mail_error": 1, "noted:error": 1}
        assert stack.delivery(result.id).status.value == "error"


def test_a_wrong_token_ends_the_mail_at_once(tenant: ProxyTenant, redis_server: RedisServer) -> None:
    conf = {"mail_proxy_token": "wrong"}
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        result = stack.send()
        stack.wait_told(result.id, "mail_error", "noted:error")
        with pytest.raises(Exception, match="Set mail_proxy_token"):
            result.get(timeout=10)
        assert "Retry in" not in stack.worker.log


def test_a_pool_process_that_is_killed_gives_its_mail_back(
    tenant: ProxyTenant, mail_sink: MailSink, broker: Broker, relay: Relay
) -> None:
    with MailStack(tenant, broker_url=broker.url, proxy_url=relay.url) as stack:
        with relay.hold():
            result = stack.send()
            stack.wait_until(lambda: relay.passed, what="the submission")
            stack.worker.kill_pool()
            time.sleep(1)
        stack.wait_told(result.id, *DONE, timeout_seconds=60)
        stack.settle()
        assert stack.told(result.id) == DONE
        assert len(mail_sink.mails) == 1
