"""The link of the maintenance, and `status` without a message."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.cli.check.links import Link, Outcome
from celery_mailproxy.cli.check.maintenance_links import check_maintenance
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.maintenance.board import Board, Done, write_board
from celery_mailproxy.runtime import forget_runtime, get_runtime
from tests.unit.cli.shop import Run

NOW = utcnow()


def note(app: Celery, seconds_ago: float, **duties: Done) -> None:
    at = NOW - timedelta(seconds=seconds_ago)
    write_board(get_runtime(app).store, Board(at=at, by="w1@host", duties=duties))


def look(app: Celery) -> Link:
    return check_maintenance(get_runtime(app), now=NOW)


def test_lately_done_is_fine(app: Celery) -> None:
    note(app, 12, outbox=Done(at=NOW, number=3))
    link = look(app)
    assert (link.outcome, link.found) == (Outcome.OK, "done 12 s ago by w1@host")


@pytest.mark.parametrize(
    ("seconds", "seconds_ago", "outcome", "found", "remedy"),
    [
        (30, None, Outcome.WARNING, "never done", "Start a worker"),
        (30, 200, Outcome.WARNING, "done 3 min 20 s ago by w1@host", "Start a worker"),
        (60, 200, Outcome.OK, "done 3 min 20 s ago by w1@host", None),
        (0, None, Outcome.SKIPPED, "mail_proxy_maintenance_seconds is 0, and no task has done it", None),
        (0, 20, Outcome.OK, "done 20 s ago by w1@host", None),
        (0, 200, Outcome.WARNING, "done 3 min 20 s ago by w1@host", "Let Celery beat run celery_mailproxy.maintain"),
    ],
)
def test_late_or_never_done_is_worth_a_look(
    app: Celery, seconds: float, seconds_ago: float | None, outcome: Outcome, found: str, remedy: Any
) -> None:
    app.conf.mail_proxy_maintenance_seconds = seconds
    forget_runtime(app)
    if seconds_ago is not None:
        note(app, seconds_ago)
    link = look(app)
    assert (link.outcome, link.found) == (outcome, found)
    assert (link.remedy or "").startswith(remedy or "")
    assert bool(link.remedy) == (outcome is Outcome.WARNING)


def test_a_duty_that_fails_is_named(app: Celery) -> None:
    note(app, 1, outbox=Done(at=NOW, problem="OperationalError"), prune=Done(at=NOW))
    link = look(app)
    assert (link.outcome, link.remedy) == (Outcome.WARNING, "See the log of w1@host.")
    assert link.found == "done 1.0 s ago by w1@host; failed: outbox (OperationalError)"


@pytest.mark.parametrize("seconds", [0, 30])
def test_what_is_overdue_in_the_outbox_is_counted(app: Celery, seconds: float) -> None:
    app.conf.mail_proxy_maintenance_seconds = seconds
    forget_runtime(app)
    moments = [NOW - timedelta(seconds=waits) for waits in (60, 91, 3600)]
    entries = [OutboxEntry(task_id=str(number), content="", due_at=at) for number, at in enumerate(moments)]
    get_runtime(app).store.outbox.put(entries)
    link = look(app)
    assert (link.outcome, link.found) == (Outcome.WARNING, "never done; overdue in the outbox: 2")


def test_eagerly_there_is_nothing_to_do(app: Celery) -> None:
    app.conf.task_always_eager = True
    assert look(app).outcome is Outcome.SKIPPED


def test_check_shows_it(run: Run, app: Celery) -> None:
    # Not `NOW`: that may be minutes ago, where the whole suite runs.
    write_board(get_runtime(app).store, Board(at=utcnow(), by="w1@host"))
    lines = run("check").stdout.splitlines()
    assert any(line.startswith("ok       maintenance     done ") for line in lines)


def test_status_without_a_message_shows_the_maintenance(run: Run, app: Celery) -> None:
    result = run("status")
    assert (result.exit_code, result.stdout) == (0, "Maintenance: never done in this store.\nOutbox: 0 due\n")
    note(app, 3600, outbox=Done(at=NOW, number=7), prune=Done(at=NOW, problem="StoreError"))
    get_runtime(app).store.outbox.put([OutboxEntry(task_id="t1", content="", due_at=NOW)])
    lines = run("status").stdout.splitlines()
    assert lines[0].startswith("Maintenance: 1 h")
    assert lines[0].endswith("ago by w1@host")
    assert [line.split()[0] for line in lines[1:]] == ["outbox", "prune", "Outbox:"]
    assert [line.split()[-1] for line in lines[1:3]] == ["7", "StoreError"]
    assert lines[3] == "Outbox: 1 due"


def test_status_without_a_message_in_json(run: Run, app: Celery) -> None:
    assert json.loads(run("status", "--json").stdout) == {"maintenance": None, "outbox_due": 0}
    note(app, 10, outbox=Done(at=NOW, number=7))
    answer = json.loads(run("status", "--json").stdout)["maintenance"]
    assert (answer["by"], answer["duties"]["outbox"]["number"]) == ("w1@host", 7)
