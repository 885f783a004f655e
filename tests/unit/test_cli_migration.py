"""`celery mailproxy share` and `migration`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery.bin.base import CLIContext
from click.testing import CliRunner, Result
from kombu import Queue

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.migration.figures import outcomes
from celery_mailproxy.reports import utcnow
from celery_mailproxy.runtime import forget_runtime

from .migrated_app import Migrated, migrated
from .test_migrate import task_of


@pytest.fixture
def one() -> Iterator[Migrated]:
    with migrated(share=0.25) as one:
        yield one


def run(one: Migrated, *args: str) -> Result:
    context = CLIContext(app=one.app, no_color=True, workdir=None)
    return CliRunner().invoke(mailproxy, list(args), obj=context)


def test_the_share_is_shown_set_and_reset(one: Migrated) -> None:
    assert run(one, "share").output == "share 0.25, from the settings\n"
    assert run(one, "share", "0.5").output == "share 0.5, set by operators (the settings say 0.25)\n"
    assert run(one, "share").output == "share 0.5, set by operators (the settings say 0.25)\n"
    assert run(one, "share", "--reset").output == "share 0.25, from the settings\n"
    assert one.runtime.store.get_value("migration.share") is None


@pytest.mark.parametrize("share", ["50", "-1", "half"])
def test_a_share_is_from_0_to_1(one: Migrated, share: str) -> None:
    done = run(one, "share", "--", share)
    assert done.exit_code == 2
    assert one.runtime.store.get_value("migration.share") is None


def test_a_share_and_a_reset_exclude_each_other(one: Migrated) -> None:
    assert run(one, "share", "0.5", "--reset").exit_code == 2


def test_a_route_is_told_of() -> None:
    with migrated(route=lambda message: None) as one:
        assert "decides first" in run(one, "share").output


def test_both_ways_are_shown_side_by_side(one: Migrated) -> None:
    one.runtime.store.set_value("migration.share", "0")
    task = task_of(one)
    for number in range(3):
        one.run(task, number, task_id=f"task-{number}")
    one.runtime.store.set_value("migration.share", None)
    one.body = lambda self, order: 1 / 0
    one.run(task, 4, task_id="task-4")
    one.runtime.store.count({"proxy/sent": 97, "proxy/error": 2, "proxy/rejected": 1}, at=utcnow())
    one.runtime.store.count({"shadow/failed": 1, "shadow/passed": 4}, at=utcnow())
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
        "shadow, last week: 5 tried, 1 would have failed",
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
    assert answer["share"] == 0.25
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
