"""A countdown that RabbitMQ waits for itself: Celery's native delayed delivery, which quorum queues need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import chain

from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.relay import Relay
from ...harness.services import RabbitServer, RedisServer
from .canvas import Canvas

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["mails", "shop.mails.high"], ids=["key as queue", "key with dots"])
def canvas(
    request: pytest.FixtureRequest, proxy: FakeProxy, rabbit_server: RabbitServer, redis_server: RedisServer
) -> Iterator[Canvas]:
    tenant = ProxyTenant(proxy=proxy)
    conf = {
        "result_backend": redis_server.url_of(5),
        "task_default_queue_type": "quorum",
        "task_default_exchange": f"exchange-{tenant.suffix}",
        "task_default_exchange_type": "topic",
        "task_default_routing_key": f"{request.param}-{tenant.suffix}",
    }
    with Relay(proxy.url) as relay, MailStack(tenant, broker_url=rabbit_server.url, conf=conf) as stack:
        canvas = Canvas(stack, relay=relay, backend="redis")
        yield canvas
        canvas.assert_all_ran()


def test_a_mail_that_the_broker_delayed_completes_on_delivery(canvas: Canvas) -> None:
    steps = [canvas.once() for _ in range(3)]
    mails = [canvas.mail("silent").set(countdown=countdown) for countdown in (2, 3, None)]
    results = [chain(mail, then).apply_async().parent for mail, then in zip(mails, steps, strict=True)]
    for result in results:
        canvas.end(result)
    canvas.wait_sent(*results)
    for then in steps:
        canvas.wait(then)
    runs = [canvas.told(result, "task_prerun") for result in results]
    # Which exchange of Celery's brought it depends on the bits of the countdown.
    assert [first["exchange"].startswith("celery_delayed_") for first, _ in runs] == [True, True, False]


def test_a_submission_that_is_retried(canvas: Canvas, proxy: FakeProxy) -> None:
    worker, link = canvas.stack.worker, canvas.once()
    before = worker.log.count("Retry in")
    with proxy.down():
        result = canvas.mail().apply_async(countdown=1, link=link)
        canvas.wait_until(lambda: worker.log.count("Retry in") >= before + 2, what="two retries")
    canvas.wait_sent(result)
    canvas.wait(link)
