"""`celery mailproxy audit`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.cli.audit_view import read_span
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.testing import FakeProxy
from tests.harness.waiting import wait_until
from tests.unit.cli.shop import Run, report


def submit(proxy: FakeProxy, *message_ids: str) -> None:
    common = {"tenant_id": proxy.tenant_id, "account_id": proxy.account_id, "from": "a@example.com"}
    content = {"to": ["b@example.com"], "subject": "S", "body": "B"}
    before = len(proxy.pending_reports)
    proxy.submit([{**common, **content, "id": each} for each in message_ids])
    wait_until(lambda: len(proxy.pending_reports) == before + len(message_ids))


@pytest.fixture
def keep(remember: Callable[..., Delivery], proxy: FakeProxy) -> Callable[..., Delivery]:
    def keep(message_id: str, *kinds: Kind, **fields: Any) -> Delivery:
        return remember(message_id, *(report(each, message_id) for each in kinds), tenant_id=proxy.tenant_id, **fields)

    return keep


def test_everything_is_accounted_for(run: Run, proxy: FakeProxy, keep: Callable[..., Delivery]) -> None:
    submit(proxy, "sent", "open")
    keep("sent", Kind.QUEUED, Kind.SENT)
    keep("open", Kind.QUEUED)
    keep("parent", members=("a@example.com",))
    result = run("audit", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (found["accepted"], found["ended"], found["open"], found["overdue"]) == (2, {"sent": 1}, 1, 0)
    assert found["at_proxy"] == {"pending": 0, "sent": 2, "error": 0}
    assert found["is_accounted_for"]


def test_what_only_one_side_knows_is_named(run: Run, proxy: FakeProxy, keep: Callable[..., Delivery]) -> None:
    submit(proxy, "theirs")
    keep("ours", Kind.QUEUED)
    keep("new")
    result = run("audit")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert "unknown to the proxy: ours" in lines
    assert "unknown here: theirs" in lines
    assert lines[-1] == "Not everything is accounted for."
    rows = {words: number for number, words in (line.split(maxsplit=1) for line in lines if line.startswith("  "))}
    assert rows == {
        "accepted": "2",
        "open": "2",
        "of these overdue": "0",
        "at the proxy, pending": "0",
        "at the proxy, sent": "1",
        "at the proxy, error": "0",
        "open, and unknown to the proxy": "1",
        "at the proxy, and unknown here": "1",
    }


def test_an_overdue_mail_is_not_accounted_for(
    run: Run, app: Celery, proxy: FakeProxy, keep: Callable[..., Delivery]
) -> None:
    app.conf.mail_proxy_overdue_seconds = 1e-6
    submit(proxy, "m")
    keep("m", Kind.QUEUED)
    found = json.loads(run("audit", "--json").stdout)
    assert (found["overdue"], found["some_overdue"]) == (1, ["m"])


def test_mails_of_a_legacy_transport_are_not_looked_for_at_a_proxy(
    run: Run, proxy: FakeProxy, remember: Callable[..., Delivery]
) -> None:
    remember("m", report(Kind.QUEUED, via="legacy"), server="legacy", tenant_id=None)
    result = run("audit", "--json")
    assert (result.exit_code, json.loads(result.stdout)["open"]) == (0, 1)


def test_older_mails_are_not_counted_and_still_known(run: Run, proxy: FakeProxy, keep: Callable[..., Delivery]) -> None:
    submit(proxy, "m")
    keep("m", Kind.QUEUED, Kind.SENT)
    result = run("audit", "--since", "1m", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["accepted"], found["unknown_here"]) == (0, 0, 0)


def test_a_proxy_that_cannot_be_asked_is_named(run: Run, app: Celery, keep: Callable[..., Delivery]) -> None:
    app.conf.mail_proxy_url = "http://127.0.0.1:1"
    result = run("audit")
    assert result.exit_code == 1
    assert "could not be asked" in result.stderr


@pytest.mark.parametrize("text", ["", "24", "h", "1w", "-1h", "1.5h", "1234567d"])
def test_a_span_that_makes_no_sense_is_refused(run: Run, text: str) -> None:
    assert read_span(text) is None
    result = run("audit", "--since", text)
    assert result.exit_code == 2
    assert "such as 90m" in result.stderr


def test_a_span_has_a_unit() -> None:
    spans = {"90s": 90, "90m": 5400, "24h": 86400, "7d": 604800}
    assert {text: read_span(text) for text in spans} == {
        text: timedelta(seconds=seconds) for text, seconds in spans.items()
    }
