"""`celery mailproxy migration`."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import click
import pytest
from kombu import Queue
from rich.console import Console

from celery_mailproxy.cli.migration import _show_outcomes
from celery_mailproxy.cli.terminal import Terminal
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.migration.backlog import Held, held_by_workers, legacy_queues, legacy_tasks
from celery_mailproxy.migration.figures import Outcomes, outcomes
from celery_mailproxy.runtime import forget_runtime
from celery_mailproxy.testing.ports import free_port
from tests.harness.waiting import wait_until
from tests.unit.cli.migrating import run
from tests.unit.migration.migrated_app import Migrated, migrated, working
from tests.unit.migration.test_wrapping import task_of


def test_both_ways_are_shown_side_by_side(one: Migrated) -> None:
    one.runtime.store.set_value("migration.share", "0")
    task = task_of(one)
    for number in range(3):
        one.run(task, number, task_id=f"task-{number}")
    one.runtime.store.set_value("migration.share", None)
    one.body = lambda self, order: 1 / 0
    one.run(task, 4, task_id="task-4")
    one.runtime.store.count({"proxy/sent": 97, "proxy/error": 2, "proxy/rejected": 1}, at=utcnow())
    one.runtime.store.count({"shadow/failed": 1, "shadow/passed": 4, "shadow/skipped": 2}, at=utcnow())
    done = run(one, "migration")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "last hour, proxy: sent 97, error 3, deferred 0, error rate 3.00%"
    assert lines[1] == "last hour, legacy: sent 3, error 1, deferred 0, error rate 25.00%"
    assert [line.split(":")[0] for line in lines[2:6]] == [
        "last day, proxy",
        "last day, legacy",
        "last week, proxy",
        "last week, legacy",
    ]
    assert lines[6:] == [
        "share 0.25, from the settings",
        "breaker of default: closed",
        f"queue {one.app.conf.task_default_queue}: 0 waiting",
        "task shop.receipt: held by workers unknown (none answered)",
        "shadow, last week: 5 tried, 1 would have failed, 2 skipped",
    ]


def test_queues_are_counted(one: Migrated) -> None:
    queue = Queue("old-mails", routing_key="old-mails")
    with one.app.connection_for_write() as connection, connection.Producer() as producer:
        for _ in range(3):
            producer.publish({}, routing_key=queue.name, declare=[queue])
        shown = run(one, "migration", "--queue", queue.name, "--queue", "nowhere", "--json")
        queue(connection.default_channel).purge()
    answer: dict[str, Any] = json.loads(shown.output)
    assert answer["queues"] == {"old-mails": 3, "nowhere": 0}
    assert answer["held_by_workers"] is None
    assert (answer["share"], answer["task_shares"]) == (0.25, {})
    assert answer["breakers"]["default"]["name"] == "closed"
    assert answer["periods"]["week"]["proxy"] == {"sent": 0, "error": 0, "deferred": 0, "error_rate": None}


def test_where_nothing_is_counted_it_says_so() -> None:
    with migrated() as one:
        forget_runtime(one.app)
        one.app.conf.mail_proxy_migration = None
        assert "nothing is counted" in run(one, "migration").output


def test_an_error_rate_is_that_of_mails_that_have_ended() -> None:
    seen = outcomes({"proxy/queued": 9, "proxy/deferred": 5})
    assert (seen["proxy"].error_rate, seen["proxy"].deferred) == (None, 5)


def test_what_workers_hold_is_shown_beside_what_waits(one: Migrated) -> None:
    task = task_of(one)
    for number in range(3):
        task.apply_async((number,), countdown=180)
    with working(one):
        # A worker on a busy machine may answer too late to be counted: it is asked again.
        expected = [
            f"queue {one.app.conf.task_default_queue}: 0 waiting",
            "task shop.receipt: 3 held by workers (1 worker answered)",
        ]
        wait_until(lambda: run(one, "migration").output.splitlines()[-2:] == expected, str(expected))
        wait_until(
            lambda: json.loads(run(one, "migration", "--json").output)["held_by_workers"] == {"shop.receipt": 3}, "JSON"
        )
        wait_until(lambda: held_by_workers(one.app, ["another"]) == Held(workers=1, tasks={"another": 0}), "none")


def test_without_a_broker_the_rest_is_shown(one: Migrated) -> None:
    one.app.conf.broker_url = f"redis://127.0.0.1:{free_port()}/0"
    one.runtime.store.count({"proxy/sent": 97}, at=utcnow())
    done = run(one, "migration")
    assert done.exit_code == 0
    assert done.output.startswith("last hour, proxy: sent 97, error 0,")
    queue = one.app.conf.task_default_queue
    assert done.output.endswith(f"queue {queue}: unknown (the broker cannot be reached)\n")
    assert json.loads(run(one, "migration", "--json").output)["queues"] == {queue: None}


def test_queues_are_those_of_the_migrated_tasks(one: Migrated) -> None:
    assert legacy_queues(one.app) == [one.app.conf.task_default_queue]
    task = task_of(one)
    one.app.conf.task_routes = {task.name: {"queue": "receipts"}}
    one.app.amqp.flush_routes()
    assert (legacy_tasks(one.app), legacy_queues(one.app)) == ([task.name], ["receipts"])
    task.queue = "mails"
    assert legacy_queues(one.app) == ["mails"]


@pytest.mark.parametrize("width", [80, 60])
def test_nothing_of_the_table_is_cut(width: int) -> None:
    many = Outcomes(sent=123_456_789, error=12_345_678, deferred=12_345_678)
    out = Console(file=StringIO(), force_terminal=True, width=width, no_color=True)
    terminal = Terminal(out=out, err=out)
    _show_outcomes(terminal, {period: {"proxy": many, "legacy": Outcomes()} for period in ("hour", "day", "week")})
    assert isinstance(out.file, StringIO)
    shown = click.unstyle(out.file.getvalue())
    lines = [line for line in shown.splitlines() if line.strip()]
    assert "…" not in shown
    assert lines[0].split() == ["Last", "Way", "sent", "error", "deferred", "error", "rate"]
    assert lines[2].split() == ["hour", "proxy", "123456789", "12345678", "12345678", "9.09%"]
    assert lines[3].split() == ["legacy", "0", "0", "0", "–"]
    assert len(lines) == 8
    assert max(len(line.rstrip()) for line in lines) <= width
