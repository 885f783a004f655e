"""The sweep: reports that were recorded, and whose run is gone, are handed to tasks, each once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry
from celery_mailproxy.deliveries.stores.base import Recording, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.run import Run
from celery_mailproxy.dispatch.sweep import sweep
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime

START = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)


class Installation:
    """A runtime whose store has a clock of its own, and a queue that nobody consumes."""

    def __init__(self, **conf: Any) -> None:
        self.now = START
        self.queue = f"reports-{uuid4()}"
        self.app = Celery("sweep", broker="memory://", set_as_current=False)
        self.app.conf.update(mail_proxy_url="http://127.0.0.1:9", mail_proxy_store="memory://", mail_proxy_events=False)
        self.app.conf.update(task_default_queue=self.queue, **conf)
        self.store = MemoryStore(Retention(), clock=lambda: self.now)
        self.runtime: Runtime = get_runtime(self.app)
        self.runtime.store = self.store

    def record(self, *message_ids: str) -> list[DeliveryReport]:
        self.store.register([Delivery(message_id=each, created_at=START, updated_at=START) for each in message_ids])
        entries = [{"id": each, "sent_ts": int(START.timestamp())} for each in message_ids]
        reports = [report for entry in entries for report in parse_entry(entry)]
        self.store.record(reports, claim="a run that is killed")
        return reports

    def sweep(self, *, after: float, limit: int = 100) -> int:
        self.now += timedelta(seconds=after)
        return sweep(self.runtime, now=self.now, limit=limit)

    def published(self) -> list[tuple[list[str], str]]:
        """The ids of the reports of each task, and the claim that it goes on after."""
        found = []
        with self.app.connection_for_read() as connection, connection.SimpleQueue(self.queue) as queue:
            while len(queue):
                message = queue.get(block=False)
                message.ack()
                assert message.headers["task"] == task_names.DISPATCH
                (reports,), arguments, _ = message.payload
                found.append(([report["message_id"] for report in reports], arguments["after"]))
        return found


@pytest.fixture
def installation() -> Iterator[Installation]:
    installation = Installation()
    yield installation
    forget_runtime(installation.app)
    installation.app.close()


def test_what_a_run_left_is_handed_to_a_task_each(installation: Installation) -> None:
    installation.record("m1", "m2")
    assert installation.sweep(after=15) == 0
    assert installation.sweep(after=6) == 2
    tasks = installation.published()
    assert sorted(ids for ids, _ in tasks) == [["m1"], ["m2"]]


def test_a_second_sweep_leaves_to_the_task_what_the_first_handed_over(installation: Installation) -> None:
    (report,) = installation.record("m1")
    assert installation.sweep(after=61) == 1
    assert [installation.sweep(after=60) for _ in range(5)] == [0, 0, 0, 0, 0]
    ((_, claim),) = installation.published()
    # The task need not wait for the sweep's own claim.
    (answer,) = installation.store.record([report], claim="the task's run", how=Recording(after=claim))
    assert answer.verdict.value == "new"


def test_what_the_task_lost_in_turn_is_handed_over_again(installation: Installation) -> None:
    installation.record("m1")
    assert installation.sweep(after=61) == 1
    assert installation.sweep(after=400) == 1


def test_a_run_that_notes_in_time_what_it_has_dispatched_is_not_repeated(installation: Installation) -> None:
    (report,) = installation.record("m1")
    assert installation.sweep(after=61) == 1
    # The store was away; the task that carries the note comes before the one of the sweep.
    installation.store.mark_dispatched([Dispatched(message_id="m1", key=report.key)])
    ((_, claim),) = installation.published()
    dispatcher_of(installation.runtime).dispatch([report], run=Run(after=claim))
    assert installation.published() == []
    assert installation.sweep(after=1000) == 0


def test_it_looks_at_no_more_than_its_limit(installation: Installation) -> None:
    installation.record(*(f"m{number}" for number in range(5)))
    assert [installation.sweep(after=61, limit=3), installation.sweep(after=0, limit=3)] == [3, 2]


def test_inline_what_the_proxy_reported_is_left_to_the_proxy() -> None:
    installation = Installation(mail_proxy_dispatch="inline")
    try:
        installation.record("m1")
        own = DeliveryReport(kind=Kind.ERROR, message_id="m2", at=START)
        installation.store.register([Delivery(message_id="m2", created_at=START, updated_at=START)])
        installation.store.record([own], claim="a sending task")
        assert installation.sweep(after=61) == 1
        assert [ids for ids, _ in installation.published()] == [["m2"]]
    finally:
        forget_runtime(installation.app)
        installation.app.close()


def test_inline_what_is_left_to_the_proxy_hides_nothing() -> None:
    installation = Installation(mail_proxy_dispatch="inline")
    try:
        installation.record(*(f"m{number}" for number in range(7)))
        installation.now += timedelta(seconds=1)
        for number in range(4):
            own = DeliveryReport(kind=Kind.ERROR, message_id=f"own{number}", at=START)
            registered = Delivery(message_id=own.message_id, created_at=START, updated_at=START)
            installation.store.register([registered])
            installation.store.record([own], claim="a sending task")
            installation.now += timedelta(seconds=1)
        assert installation.sweep(after=61, limit=3) == 3
        assert [ids for ids, _ in installation.published()] == [["own0"], ["own1"], ["own2"]]
    finally:
        forget_runtime(installation.app)
        installation.app.close()


def test_between_two_portions_it_asks_whether_there_is_time(installation: Installation) -> None:
    installation.record(*(f"m{number}" for number in range(250)))
    installation.now += timedelta(seconds=61)
    turns = iter([True, False])
    assert sweep(installation.runtime, now=installation.now, limit=1000, go_on=lambda: next(turns)) == 200
    # The rest is nobody's: the next sweep takes it at once.
    assert installation.sweep(after=0, limit=1000) == 50


def test_the_task_sweeps(installation: Installation) -> None:
    # The task has the real clock.
    installation.now = datetime.now(timezone.utc) - timedelta(seconds=100)
    installation.record("m1")
    installation.now = datetime.now(timezone.utc)
    assert installation.app.tasks[task_names.DISPATCH_STALLED].apply().get() == 1
