"""httpx's line of each request: hidden for requests of ours, in a worker that is not at DEBUG."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.proxy import request_logs
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.request_logs import hide_requests
from celery_mailproxy.testing import FakeProxy


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """httpx's, as another test finds it."""
    logger = logging.getLogger("httpx")
    filters = list(logger.filters)
    # A worker of another test's may have run in this process.
    logger.filters.clear()
    yield logger
    logger.filters[:] = filters


def requests(proxy: FakeProxy, caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """What httpx logs of a request of ours, and of one of the application's own."""
    caplog.clear()
    with caplog.at_level(level, logger="httpx"):
        client = ProxyClient(ServerSettings(name="default", url=proxy.url, token=proxy.token, api="entities"))
        client.find_tenant(proxy.tenant_id)
        client.close()
        httpx.get(f"{proxy.url}/health?own=1", trust_env=False)
    return [record.getMessage() for record in caplog.records if record.name == "httpx"]


def test_a_worker_logs_no_request_of_ours(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    with FakeProxy("entities") as proxy:
        assert len(requests(proxy, caplog, logging.INFO)) == 2, "httpx still logs each request at INFO"
        hide_requests()
        hide_requests()
        (line,) = requests(proxy, caplog, logging.INFO)
        assert "own=1" in line
        assert len(requests(proxy, caplog, logging.DEBUG)) >= 2
    assert logger.filters.count(request_logs._is_shown) == 1
