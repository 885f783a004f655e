"""How much a thousand idle strangers delay a report."""

from __future__ import annotations

import resource
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from celery_mailproxy.receiver import connections
from celery_mailproxy.receiver.receiver import ReportReceiver
from celery_mailproxy.receiver.server import ReportServer
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.benchmark

REPORT = b'{"delivery_report": [{"id": "m1", "sent_ts": 1795324468}]}'
HEADERS = {"Authorization": "Bearer secret", "Content-Type": "application/json"}

#: Milliseconds, where a report alone takes some.
LIMIT = 50


def ignored(reports: object) -> None:
    """What is received is none of this."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReportServer]:
    monkeypatch.setattr(connections, "STRANGER_SECONDS", 1e9)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], 4096), before[1]))
    server = ReportServer(ReportReceiver(accept=ignored, tokens={None: ("secret",)}), host="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def test_a_thousand_idle_strangers_delay_a_report_by_milliseconds(server: ReportServer) -> None:
    def post() -> None:
        # A connection of its own, as the proxy has: it comes after all the strangers.
        response = httpx.post(f"{server.urls[0]}/mail-proxy/sync", content=REPORT, headers=HEADERS, trust_env=False)
        assert response.status_code == 200

    host, port = server.urls[0].removeprefix("http://").split(":")
    alone = statistics.median(seconds(post) for _ in range(20))
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        wait_until(lambda: len(server._connections) >= 1000, "all of them are accepted")
        among = statistics.median(seconds(post) for _ in range(20))
    print(f"\na report alone {alone * 1000:.1f} ms, among a thousand strangers {among * 1000:.1f} ms")
    assert among / alone < LIMIT
