"""Who leads, what a round does, and what is noted of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.suspension import Suspension, SuspensionState
from celery_mailproxy.dispatch.sweep import PATIENCE, PAUSE_SECONDS
from celery_mailproxy.errors import StoreError
from celery_mailproxy.maintenance import leader
from celery_mailproxy.maintenance.board import Board, Done, lease_seconds, read_board, write_board
from celery_mailproxy.maintenance.duties import DUTIES, Duty
from celery_mailproxy.maintenance.leader import Maintenance
from celery_mailproxy.runtime import Runtime
from tests.harness.memory_worker import MemoryWorker, memory_worker

START = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)


class Installation:
    """An application whose store and maintenance have a clock of the test's."""

    def __init__(self, worker: MemoryWorker) -> None:
        self.now = START
        self.app = worker.app
        self.runtime: Runtime = worker.runtime
        self.store = MemoryStore(self.runtime.retention, clock=lambda: self.now)
        self.runtime.store = self.store
        self.done: list[str] = []

    def duty(self, name: str, *, every_seconds: float = 0.0, does: Callable[[], int] = lambda: 1) -> Duty:
        def do(runtime: Runtime, go_on: Callable[[], bool]) -> int:
            self.done.append(name)
            return does()

        return Duty(name=name, do=do, every_seconds=every_seconds)

    def process(self, name: str, *duties: Duty, **options: Any) -> Maintenance:
        return Maintenance(self.app, name=name, duties=duties, clock=lambda: self.now, **options)

    @property
    def board(self) -> Board:
        board = read_board(self.store)
        assert board is not None
        return board


@pytest.fixture
def installation() -> Iterator[Installation]:
    with memory_worker(mail_proxy_maintenance_seconds=30) as worker:
        yield Installation(worker)


def test_one_leads_and_another_takes_over_when_it_is_silent(installation: Installation) -> None:
    duty = installation.duty("one")
    first, second = installation.process("w1", duty), installation.process("w2", duty)
    assert [first.round(), second.round()] == [{"one": 1}, None]
    for _ in range(5):
        installation.now += timedelta(seconds=30)
        assert [first.round(), second.round()] == [{"one": 1}, None]
    installation.now += timedelta(seconds=89)
    assert second.round() is None
    installation.now += timedelta(seconds=1)
    assert second.round() == {"one": 1}
    assert first.round() is None
    assert installation.board.by == "w2"


def test_who_resigns_is_followed_at_once(installation: Installation) -> None:
    first, second = (installation.process(name, installation.duty(name)) for name in ("w1", "w2"))
    first.round()
    second.resign()
    assert second.round() is None
    first.resign()
    assert second.round() is not None
    first.resign()
    assert first.round() is None


def test_two_of_one_name_are_two(installation: Installation) -> None:
    assert installation.process("w1").round() == {}
    assert installation.process("w1").round() is None


def test_a_duty_is_done_as_often_as_it_says_whoever_leads(installation: Installation) -> None:
    duties = (installation.duty("each"), installation.duty("fourth", every_seconds=120))
    one = installation.process("w1", *duties)
    one.round()
    for _ in range(3):
        installation.now += timedelta(seconds=29)
        one.round()
    assert installation.done == ["each", "fourth", "each", "each", "each"]
    one.resign()
    installation.done.clear()
    installation.now += timedelta(seconds=20)
    installation.process("w2", *duties).round()
    assert installation.done == ["each", "fourth"]


def test_each_duty_of_a_worker_has_its_time() -> None:
    assert {duty.name: duty.every_seconds for duty in DUTIES} == {
        "outbox": 0,
        "reports": 0,
        "results": 60,
        "outcomes": 0,
        "poll": 0,
        "bounces": 60,
        "prune": 3600,
    }


def test_a_report_whose_worker_was_killed_is_dispatched_within_a_minute() -> None:
    """The worker may have led the maintenance, and its report may have been claimed just before."""
    seconds = Settings().maintenance_seconds
    new_leader = lease_seconds(seconds) + seconds
    claim = PATIENCE.total_seconds() + seconds
    assert max(new_leader, claim) + PAUSE_SECONDS < 60


def test_a_round_is_noted(installation: Installation) -> None:
    installation.process("w1", installation.duty("one", does=lambda: 7)).round()
    assert installation.board == Board(at=START, by="w1", duties={"one": Done(at=START, number=7)})
    assert not installation.board.is_late(now=START + timedelta(seconds=180), maintenance_seconds=30)
    assert installation.board.is_late(now=START + timedelta(seconds=181), maintenance_seconds=30)


def test_a_board_that_nobody_can_read_is_none(installation: Installation) -> None:
    for text in ("", "{}", "[]", '{"at":"x","by":"w1","duties":{}}', '{"at":"2026-11-22","by":"w","duties":[1]}'):
        installation.store.set_value("maintenance", text)
        assert read_board(installation.store) is None
    board = Board(at=START, by="w1", duties={"one": Done(at=START, problem="StoreError")})
    write_board(installation.store, board)
    assert read_board(installation.store) == board


def test_a_duty_that_fails_costs_no_other_and_is_logged_once_a_minute(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> int:
        raise ValueError("no such thing as ann@example.com")

    one = installation.process("w1", installation.duty("bad", does=fail), installation.duty("good"))
    for _ in range(3):
        one.round()
        installation.now += timedelta(seconds=30)
    assert installation.done == ["bad", "good"] * 3
    assert installation.board.duties["bad"].problem == "ValueError"
    lines = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert lines == ["mailproxy maintenance: duty 'bad' failed: ValueError: no such thing as <address>"]


def test_a_store_that_is_away_is_one_line_and_no_end(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    one = installation.process("w1", installation.duty("one"))
    with patch.object(MemoryStore, "get_value", side_effect=StoreError("away")):
        assert [one.round() for _ in range(3)] == [None] * 3
    assert [record.message for record in caplog.records] == [
        "mailproxy maintenance: the round failed: StoreError: away"
    ]
    assert one.round() == {"one": 1}
    with patch.object(MemoryStore, "get_value", side_effect=StoreError("away")):
        one.resign()


def test_a_long_duty_keeps_the_lease(installation: Installation) -> None:
    others = installation.process("w2")
    asked: list[bool] = []

    def do(runtime: Runtime, go_on: Callable[[], bool]) -> int:
        for _ in range(6):
            installation.now += timedelta(seconds=25)
            monotonic[0] += 25
            asked.append(go_on())
            assert others.round() is None
        return 0

    monotonic = [1000.0]
    with patch("celery_mailproxy.maintenance.leader.time.monotonic", lambda: monotonic[0]):
        installation.process("w1", Duty(name="long", do=do)).round()
    assert asked == [True] * 6


def test_who_has_lost_the_lease_stops(installation: Installation) -> None:
    others = installation.process("w2")
    asked: list[bool] = []

    def do(runtime: Runtime, go_on: Callable[[], bool]) -> int:
        installation.now += timedelta(seconds=lease_seconds(30))
        monotonic[0] += lease_seconds(30)
        assert others.round() == {}
        asked.append(go_on())
        return 0

    monotonic = [1000.0]
    with patch("celery_mailproxy.maintenance.leader.time.monotonic", lambda: monotonic[0]):
        installation.process("w1", Duty(name="long", do=do), installation.duty("next")).round()
    assert asked == [False]
    assert installation.done == []


def test_who_is_stopping_begins_nothing_more(installation: Installation) -> None:
    stops = iter([False, True])
    duties = (installation.duty("one"), installation.duty("two"))
    installation.process("w1", *duties, is_stopping=lambda: next(stops)).round()
    assert installation.done == ["one"]


def test_the_store_is_asked_for_the_lease_while_nobody_forks(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = 0
    asked: list[int] = []

    @contextmanager
    def without_forks() -> Iterator[None]:
        nonlocal depth
        depth += 1
        try:
            yield
        finally:
            depth -= 1

    def take_lease(*arguments: Any, **options: Any) -> bool:
        asked.append(depth)
        return True

    monkeypatch.setattr(leader, "without_forks", without_forks)
    monkeypatch.setattr(installation.store, "take_lease", take_lease)
    # Each time the lease is due to be renewed.
    moments = iter(range(0, 100_000, 1000))
    monkeypatch.setattr("celery_mailproxy.maintenance.leader.time.monotonic", lambda: float(next(moments)))

    def do(runtime: Runtime, go_on: Callable[[], bool]) -> int:
        return int(go_on())

    one = installation.process("w1", Duty(name="one", do=do), Duty(name="two", do=do))
    assert one.round() == {"one": 1, "two": 1}
    one.resign()
    # Never outside, and never one within another.
    assert asked == [1] * 6


@pytest.mark.parametrize("name", ["reports", "results"])
def test_duties_that_publish_much_keep_the_lease(installation: Installation, name: str) -> None:
    (duty,) = (each for each in DUTIES if each.name == name)
    suspended = [Suspension(owner=f"m{n}", since=START, state=SuspensionState.EARLY) for n in range(250)]
    for each in suspended:
        known = Delivery(message_id=each.owner, created_at=START, updated_at=START, suspension=each)
        installation.store.register([known])
        report = DeliveryReport(kind=Kind.DEFERRED, message_id=each.owner, at=START)
        installation.store.record([report], claim="a run that is gone")
    installation.now = utcnow()
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(len(asked))
        return len(asked) < 2

    published = patch("celery_mailproxy.dispatch.resumer.Resumer.publish")
    with published, patch("celery_mailproxy.dispatch.postponing.Postponer.postpone"):
        assert duty.do(installation.runtime, go_on) == 200
    assert asked == [0, 1]


def test_each_duty_has_a_name_of_its_own() -> None:
    assert len({duty.name for duty in DUTIES}) == len(DUTIES)


def test_the_duties_run_on_an_empty_store(installation: Installation) -> None:
    assert Maintenance(installation.app, name="w1").round() == dict.fromkeys((duty.name for duty in DUTIES), 0)


def test_the_task_for_beat_makes_a_round_and_leaves_the_lease() -> None:
    with memory_worker(mail_proxy_maintenance_seconds=0) as worker:
        from celery_mailproxy.maintenance.tasks import maintain

        task = worker.app.tasks[maintain.name]
        assert set(task.apply().get()) == {duty.name for duty in DUTIES}
        # At once again nothing is due, but nobody else has the lease.
        assert task.apply().get() == {}
        board = read_board(worker.runtime.store)
        assert board is not None
        assert board.by.startswith("a task on ")
