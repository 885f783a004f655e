"""`celery mailproxy status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.runtime import get_runtime
from tests.unit.cli.shop import Run, report, without_escapes


def test_status_shows_the_timeline(run: Run, remember: Callable[..., Delivery]) -> None:
    remember(
        "m1",
        report(Kind.QUEUED, seconds_ago=299),
        report(Kind.DEFERRED, seconds_ago=298, reason="451 4.3.0 try later"),
        report(Kind.SENT, seconds_ago=60),
        report(Kind.DEFERRED, seconds_ago=58, reason="late"),
        summary={"subject": "Grüße \x1b[31m", "recipients": 2},
    )
    result = run("status", "m1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "m1: sent"
    assert "2 recipients" in result.stdout
    assert "Grüße" in result.stdout
    assert "451 4.3.0 try later" in result.stdout
    assert "tenant acme" in result.stdout
    assert "\x1b" not in result.stdout
    assert "deferred  late (stale: came too late to count)" in lines[-1]


@pytest.mark.parametrize("at", [datetime.min, datetime.max])  # noqa: DTZ901
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_status_of_odd_times(
    run: Run, remember: Callable[..., Delivery], at: datetime, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remember("m1", replace(report(Kind.SENT), at=at.replace(tzinfo=timezone.utc)))
    for zone in ("UTC", "Asia/Tokyo", "America/Lima"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        for env in ({}, {"FORCE_COLOR": "1", "COLUMNS": "80"}):
            result = run("status", "m1", *arguments, env=env)
            assert result.exit_code == 0
            assert "sent" in result.stdout
    monkeypatch.undo()
    time.tzset()


def test_status_as_json_steers_no_terminal(run: Run, remember: Callable[..., Delivery]) -> None:
    reason = "550 \x1b[2J\x9b31m\u202egpj\u2028\x85 Größe"
    remember("m1", report(Kind.ERROR, reason=reason))
    result = run("status", "m1", "--json")
    assert json.loads(result.stdout)["reason"] == reason
    assert result.stdout.rstrip("\n").isprintable()
    assert "Größe" in result.stdout


def test_status_in_a_terminal_is_a_panel_that_fits(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.ERROR, reason="550 no such user " * 10))
    result = run("status", "m1", env={"FORCE_COLOR": "1", "COLUMNS": "80"})
    assert "╭" in result.stdout
    plain_lines = without_escapes(result.stdout).splitlines()
    assert max(map(len, plain_lines)) == 80


def test_status_names_failed_handlers_and_how_to_run_them_again(
    run: Run, app: Celery, remember: Callable[..., Delivery]
) -> None:
    remember("m1", sent := report(Kind.SENT))
    dispatched = Dispatched(message_id="m1", key=sent.key, failed=("mail_sent:shop.handlers.paid",))
    get_runtime(app).store.mark_dispatched([dispatched])
    result = run("status", "m1")
    assert "mail_sent:shop.handlers.paid failed" in result.stdout
    assert "celery -A proj mailproxy replay m1" in result.stdout


def test_status_marks_what_has_not_been_dispatched(run: Run, app: Celery, remember: Callable[..., Delivery]) -> None:
    remember("m1")
    get_runtime(app).store.record([report(Kind.SENT)], claim="other")
    assert "not dispatched yet" in run("status", "m1").stdout


def test_status_in_json_holds_the_history(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1", report(Kind.SENT, raw={"id": "m1", "sent_ts": 1}))
    remember("m2")
    first, second = (json.loads(line) for line in run("status", "m1", "m2", "--json").stdout.splitlines())
    assert (first["message_id"], first["status"], first["attempts"]) == ("m1", "sent", 1)
    assert [entry["kind"] for entry in first["history"]] == ["sent"]
    assert (second["status"], second["history"]) == ("new", [])


def test_status_shows_what_belongs_together(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m3", members=("ann@example.com", "bob@example.com"))
    remember("m3-1", parent_id="m3")
    text = run("status", "m3", "m3-1").stdout
    assert "m3-0 to m3-1" in text
    assert "Part of:   m3" in text
    first, second = (json.loads(line) for line in run("status", "m3", "m3-1", "--json").stdout.splitlines())
    assert (first["member_ids"], second["parent_id"]) == (["m3-0", "m3-1"], "m3")
    assert "@example.com" not in text + json.dumps(first)


def test_status_of_an_unknown_message_fails(run: Run, remember: Callable[..., Delivery]) -> None:
    remember("m1")
    result = run("status", "m1", "nobody")
    assert result.exit_code == 1
    assert "m1: new" in result.stdout
    assert "no message 'nobody' is known" in result.stderr


def test_status_says_where_only_reports_are_known(run: Run, app: Celery) -> None:
    get_runtime(app).store.record([report(Kind.SENT)], claim="test", how=Recording(adopt=True))
    assert "only reports are known" in run("status", "m1").stdout
