"""With all reports dropped, and with a proxy that has lost its memory, each outcome that can be told is told once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.proxy_admin import API
from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer

pytestmark = [pytest.mark.integration, pytest.mark.long(60)]

#: What is looked for again and again is so soon.
SHORT = {"mail_proxy_overdue_seconds": 2, "mail_proxy_maintenance_seconds": 0.5}


@pytest.fixture(scope="module", params=["commands-0.5", "entities"])
def proxy(request: pytest.FixtureRequest) -> Iterator[RealProxy]:
    with RealProxy(cast(API, request.param)) as proxy:
        yield proxy


@pytest.fixture
def tenant(proxy: RealProxy, sink: MailSink) -> ProxyTenant:
    return ProxyTenant(proxy=proxy, smtp_host=sink.host, smtp_port=sink.port)


@pytest.fixture(params=["both", "poll"])
def silenced(request: pytest.FixtureRequest, tenant: ProxyTenant, redis_server: RedisServer) -> Iterator[MailStack]:
    """An installation that no report of the proxy reaches."""
    conf = {**SHORT, "mail_proxy_reports": request.param}
    if request.param == "poll":
        # Longer than the test: what it learns it has learnt by polling.
        conf["mail_proxy_overdue_seconds"] = 3600
    with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
        tenant.add(None)
        yield stack


def test_outcomes_are_known_without_any_report_and_told_once(silenced: MailStack) -> None:
    sent = [silenced.send().id for _ in range(3)]
    spam = silenced.send(to=["spam@example.com"]).id
    for each in sent:
        silenced.wait_told(each, "mail_queued", "mail_sent", "noted:sent")
    silenced.wait_told(spam, "mail_queued", "mail_error", "noted:error")
    assert "554" in silenced.delivery(spam).reason
    # Now the proxy reports them, too.
    silenced.tenant.add(f"http://127.0.0.1:{silenced.port}")
    silenced.drain()
    for each in sent:
        assert silenced.told(each) == {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}
        assert silenced.delivery(each).status is Status.SENT
    assert silenced.told(spam) == {"mail_queued": 1, "mail_error": 1, "noted:error": 1}


def test_a_proxy_of_yesterday_loses_no_outcome_that_it_can_still_tell(
    sink: MailSink, redis_server: RedisServer, proxy: RealProxy, tmp_path: Path
) -> None:
    with RealProxy(proxy.api) as own:
        tenant = ProxyTenant(proxy=own, smtp_host=sink.host, smtp_port=sink.port)
        conf = {**SHORT, "mail_proxy_overdue_seconds": 4}
        with MailStack(tenant, broker_url=redis_server.url, conf=conf) as stack:
            tenant.add(None)
            address = f"{tenant.suffix}@example.com"
            before = stack.send(to=[address])
            stack.wait_told(before.id, "mail_queued")
            stack.wait_until(lambda: sink.mails_to(address), what="the first mail is sent")
            own.stop()
            copy = tmp_path / "copy.db"
            shutil.copy(own.db_path, copy)
            own.start()
            after = stack.send()
            stack.wait_told(after.id, "mail_queued")
            own.stop()
            for leftover in own.db_path.parent.glob(f"{own.db_path.name}-*"):
                leftover.unlink()
            shutil.copy(copy, own.db_path)
            own.start()
            stack.wait_told(before.id, "mail_sent", "noted:sent")
            stack.wait_told(after.id, "mail_error", "noted:error")
            # Now the proxy reports what it knows, too.
            tenant.add(f"http://127.0.0.1:{stack.port}")
            stack.drain()
            assert stack.told(before.id) == {"mail_queued": 1, "mail_sent": 1, "noted:sent": 1}
            assert stack.told(after.id) == {"mail_queued": 1, "mail_error": 1, "noted:error": 1}
            assert stack.delivery(after.id).reason == "unknown to the proxy"
