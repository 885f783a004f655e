"""An application that mails what fails, in a real worker whose proxy is away: one mail stays one mail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer) -> Iterator[MailStack]:
    conf = {"mail_proxy_max_retries": 1}
    with (
        FakeProxy("entities") as proxy,
        MailStack(
            ProxyTenant(proxy=proxy),
            broker_url=redis_server.url,
            proxy_url="http://127.0.0.1:9",
            conf=conf,
            module="tests.harness.circling_app",
        ) as stack,
    ):
        yield stack


@pytest.mark.parametrize("name", ["send_via_proxy", "deliver_via_proxy"])
def test_a_mail_that_fails_sets_off_no_other(stack: MailStack, name: str) -> None:
    before = stack.told("all")["complaint:task"]
    result = stack.app.tasks[f"celery_mailproxy.{name}"].delay(to=["ann@example.com"], subject="S", body="B")
    stack.wait_told(result.id, "mail_error")
    stack.drain()
    # Its retry, and its end.
    assert stack.told("all")["complaint:task"] - before >= 2
    assert stack.told("all")["complaint:log"]
    assert stack.delivery(result.id).status is Status.ERROR
    assert {event["id"] for event in stack.events if event["name"] == "mail_error"} <= {result.id, *seen}
    seen.add(result.id)


#: The mails of this module's tests: any other has been set off.
seen: set[str] = set()
