"""A real Sentry client in a worker records each sending task, also where Sentry is initialised as the worker starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer) -> Iterator[MailStack]:
    with (
        FakeProxy("entities") as proxy,
        MailStack(ProxyTenant(proxy=proxy), broker_url=redis_server.url, module="tests.harness.sentry_app") as stack,
    ):
        yield stack


@pytest.mark.parametrize("name", ["send_via_proxy", "deliver_via_proxy"])
def test_sentry_records_the_runs_of_a_mails_task(stack: MailStack, name: str) -> None:
    task = stack.app.tasks[f"celery_mailproxy.{name}"]
    result = task.delay(to=["ann@example.com"], subject="S", body="B")
    stack.wait_told(result.id, "mail_sent", f"sentry:{task.name}")
