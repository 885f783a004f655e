"""The relays of the chaos suite: nothing is acknowledged that no receiver has acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from celery_mailproxy.testing.ports import free_port
from tests.chaos.ledger import Ledger
from tests.chaos.relays import Mischief, ReportRelay
from tests.harness.json_lines import JsonLines
from tests.harness.report_sink import ReportSink

ENTRIES = [{"id": f"m{number}", "sent_ts": 1700000000 + number} for number in range(3)]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


@pytest.fixture
def relay(report_sink: ReportSink, ledger: Ledger) -> Iterator[ReportRelay]:
    dead = f"http://127.0.0.1:{free_port()}"
    relay = ReportRelay({"plain": (dead, report_sink.url)}, ledger)
    with relay:
        yield relay


def post(relay: ReportRelay, entries: list[dict[str, Any]] = ENTRIES) -> httpx.Response:
    headers = {"Authorization": "Bearer secret"}
    body = {"delivery_report": entries}
    return httpx.post(f"{relay.url}/plain/mail-proxy/sync", json=body, headers=headers, trust_env=False, timeout=60)


def ids_of(sink: ReportSink) -> list[list[str]]:
    return [[report["id"] for report in request.reports] for request in sink.requests]


def test_reports_go_with_their_token_to_a_receiver_that_is_up(relay: ReportRelay, report_sink: ReportSink) -> None:
    assert post(relay).json() == {"ok": True, "queued": 0}
    (request,) = report_sink.requests
    assert (request.path, request.headers["Authorization"]) == ("/mail-proxy/sync", "Bearer secret")
    assert request.reports == ENTRIES


def test_a_refusal_is_passed_back(relay: ReportRelay, report_sink: ReportSink) -> None:
    report_sink.answer_next(503)
    assert post(relay).status_code == 503


def test_what_is_dropped_comes_to_nobody_and_is_not_answered(relay: ReportRelay, report_sink: ReportSink) -> None:
    with relay.playing(Mischief.DROP), pytest.raises(httpx.RemoteProtocolError):
        post(relay)
    assert report_sink.requests == []
    assert post(relay).status_code == 200


def test_what_is_swallowed_has_come_and_is_not_answered(relay: ReportRelay, report_sink: ReportSink) -> None:
    with relay.playing(Mischief.SWALLOW), pytest.raises(httpx.RemoteProtocolError):
        post(relay)
    assert ids_of(report_sink) == [["m0", "m1", "m2"]]


def test_what_is_doubled_comes_twice(relay: ReportRelay, report_sink: ReportSink) -> None:
    with relay.playing(Mischief.DOUBLE):
        assert post(relay).status_code == 200
    assert ids_of(report_sink) == [["m0", "m1", "m2"]] * 2


def test_of_two_copies_one_refusal_refuses_both(relay: ReportRelay, report_sink: ReportSink) -> None:
    report_sink.answer_next(200, 503)
    with relay.playing(Mischief.DOUBLE):
        assert post(relay).status_code == 503


def test_what_is_reordered_comes_from_its_end_in_parts_with_earlier_batches_behind(
    relay: ReportRelay, report_sink: ReportSink
) -> None:
    post(relay, [{"id": "earlier", "sent_ts": 1}])
    with relay.playing(Mischief.REORDER):
        assert post(relay).status_code == 200
    first, *parts, last = ids_of(report_sink)
    assert first == last == ["earlier"]
    assert sorted(parts) == [["m0"], ["m2", "m1"]]


def test_an_empty_report_is_left_alone(relay: ReportRelay, report_sink: ReportSink, ledger: Ledger) -> None:
    with relay.playing(Mischief.DROP):
        assert post(relay, []).status_code == 200
    assert JsonLines(ledger.path).events == []


def test_the_ledger_has_what_was_reported_and_what_the_proxy_gave_up(relay: ReportRelay, ledger: Ledger) -> None:
    post(relay, [*ENTRIES[:1], {"id": "m9", "error_ts": 1, "error": "554 refused"}])
    (event,) = JsonLines(ledger.path).events
    assert (event["what"], event["ids"], event["status"]) == ("reported", ["m0", "m9"], 200)
    assert event["errors"] == {"m9": "554 refused"}
