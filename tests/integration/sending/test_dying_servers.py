"""A mail survives each server that it needs: the store, the broker, the proxy and the result backend are killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from celery_mailproxy.migration.backlog import queue_length
from celery_mailproxy.testing import FakeProxy, MailSink, RealProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RabbitServer, RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.long(75)]

DONE = {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}

#: How Celery's Redis backend tries again; by default for 20 seconds.
BRIEF = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan("silent@example.com")
        yield proxy


def assert_once(stack: MailStack, message_id: str) -> None:
    """Everybody was notified once."""
    stack.wait_told(message_id, *DONE)
    stack.drain()
    assert stack.told(message_id) == DONE


# The store


def test_a_mail_whose_store_dies_before_the_submission_is_sent_once(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    with RedisServer() as store, ExitStack() as stacks:
        tenant = ProxyTenant(proxy=proxy)
        conf = {"mail_proxy_store": store.url}
        stack = stacks.enter_context(MailStack(tenant, broker_url=redis_server.url, conf=conf))
        store.kill()
        result = stack.send()
        stack.worker.wait_for_log(rf"{result.id}\] retry")
        assert result.id not in [message["id"] for message in proxy.received]
        store.start()
        assert_once(stack, result.id)


def test_a_mail_whose_store_dies_after_the_submission_is_sent_once(
    proxy: FakeProxy, relay: Relay, redis_server: RedisServer
) -> None:
    with RedisServer() as store, ExitStack() as stacks:
        tenant = ProxyTenant(proxy=proxy)
        conf = {"mail_proxy_store": store.url}
        stack = stacks.enter_context(MailStack(tenant, broker_url=redis_server.url, proxy_url=relay.url, conf=conf))
        passed = relay.passed
        with relay.hold():
            # A report might settle it.
            result = stack.send(to=["silent@example.com"])
            stack.wait_until(lambda: relay.passed > passed, what="the submission")
            store.kill()
        stack.worker.wait_for_log(rf"{result.id}\] retry")
        store.start()
        stack.wait_told(result.id, "mail_queued")
        assert [message["id"] for message in proxy.received].count(result.id) == 1
        assert stack.post_reports({"id": result.id, "sent_ts": int(time.time())}).status_code == 200
        assert_once(stack, result.id)


# The broker


@pytest.mark.full_with("rabbitmq")
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_broker_that_is_killed_keeps_its_mails(kind: str, proxy: FakeProxy, request: pytest.FixtureRequest) -> None:
    # Its own broker, to be killed; the shared one is asked for so that a missing service is said in one place.
    request.getfixturevalue({"redis": "redis_server", "rabbitmq": "rabbit_server"}[kind])
    server = RedisServer if kind == "redis" else RabbitServer
    with server() as broker, MailStack(ProxyTenant(proxy=proxy), broker_url=broker.url) as stack:
        stack.worker.stop()
        results = [stack.send() for _ in range(3)]
        broker.kill()
        broker.start()
        stack.worker.start()
        for result in results:
            assert_once(stack, result.id)


# The proxy


def test_a_proxy_that_is_killed_keeps_its_queue(mail_sink: MailSink, redis_server: RedisServer) -> None:
    # 0.5.0 is suspended as a whole, and only once its sender looks again: a mail may be sent meanwhile.
    with RealProxy("entities") as real:
        tenant = ProxyTenant(proxy=real, smtp_host=mail_sink.host, smtp_port=mail_sink.port)
        with MailStack(tenant, broker_url=redis_server.url) as stack:
            # Its sender is stopped: the mail stays in the queue.
            real.suspend(tenant.id)
            result = stack.send()
            stack.wait_told(result.id, "mail_queued")
            real.kill()
            assert mail_sink.mails == []
            real.start()
            real.activate(tenant.id)
            assert_once(stack, result.id)
            assert len(mail_sink.mails) == 1


# The worker


def test_a_short_time_limit_of_the_application_kills_no_mail(
    proxy: FakeProxy, relay: Relay, redis_server: RedisServer
) -> None:
    conf = {"task_soft_time_limit": 1, "task_time_limit": 2}
    tenant = ProxyTenant(proxy=proxy)
    with MailStack(tenant, broker_url=redis_server.url, proxy_url=relay.url, conf=conf) as stack:
        passed = relay.passed
        with relay.hold():
            result = stack.send()
            stack.wait_until(lambda: relay.passed > passed, what="the submission")
            limit_is_over = time.monotonic() + 2 * conf["task_time_limit"]
            stack.wait_until(lambda: time.monotonic() > limit_is_over, what="more time than the limit")
        assert_once(stack, result.id)
        assert "time limit" not in stack.worker.log
        assert relay.passed == passed + 1


# The result backend


def test_a_result_backend_that_is_away_keeps_a_mail_from_being_published(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    with MailStack(ProxyTenant(proxy=proxy), broker_url=redis_server.url) as stack:
        stack.worker.stop()
        stack.app.conf.update(
            result_backend="redis://127.0.0.1:9/0", result_backend_transport_options={"retry_policy": BRIEF}
        )
        with pytest.raises(Exception, match=r"Retry limit exceeded|Connection refused"):
            stack.send()
        assert queue_length(stack.app, stack.queue) == 0


def test_a_result_backend_that_is_away_costs_a_worker_the_result_alone(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    with MailStack(ProxyTenant(proxy=proxy), broker_url=redis_server.url) as stack:
        stack.worker.stop()
        away = {
            "result_backend": "redis://127.0.0.1:9/0",
            "result_backend_transport_options": {"retry_policy": BRIEF},
        }
        stack.worker.env["TEST_CONF"] = json.dumps({**stack.conf, **away})
        stack.worker.start()
        result = stack.send()
        stack.wait_told(result.id, *DONE)
        stack.worker.wait_for_log("Connection refused")
        assert stack.told(result.id) == DONE
        assert [message["id"] for message in proxy.received].count(result.id) == 1
        assert result.state == "PENDING"
