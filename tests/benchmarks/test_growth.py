"""What takes ten times as much takes about ten times as long, and not a hundred times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celery_mailproxy.errors import redact
from celery_mailproxy.testing import FakeProxy
from tests.harness.report_sink import ReportSink

pytestmark = pytest.mark.benchmark

#: Between what is linear (10) and what is quadratic (100).
LIMIT = 40


def growth(call: Callable[[int], Any], size: int) -> float:
    """How many times longer it takes for ten times the size: of several turns the best, for other programs run, too."""

    def best(size: int) -> float:
        seconds = []
        for _ in range(3):
            begun = time.perf_counter()
            call(size)
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    return best(10 * size) / best(size)


@pytest.mark.parametrize("text", ["x", "<x", "x@", "<", "@"])
def test_a_long_text_is_redacted_in_linear_time(text: str) -> None:
    assert growth(lambda size: redact(text * size), 20_000) < LIMIT


@pytest.fixture
def report_sink() -> Iterator[ReportSink]:
    with ReportSink() as sink:
        yield sink


def test_thousands_of_mails_are_taken_and_reported_by_the_fake_proxy_in_linear_time(report_sink: ReportSink) -> None:
    def send(size: int) -> None:
        with FakeProxy() as proxy:
            before = len(report_sink.wait_for_reports(0))
            proxy.report_to(report_sink.url)
            message: dict[str, Any] = {
                "tenant_id": proxy.tenant_id,
                "account_id": proxy.account_id,
                "from": "from@example.com",
            }
            message |= {"to": ["to@example.com"], "subject": "Subject", "body": "Body"}
            for start in range(0, size, 100):
                proxy.submit([{**message, "id": f"m{number}"} for number in range(start, start + 100)])
            report_sink.wait_for_reports(before + size)

    assert growth(send, 300) < LIMIT
