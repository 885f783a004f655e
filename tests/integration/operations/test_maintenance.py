"""The maintenance in real workers: of every pool, one of them at a time, without an entry of Celery beat."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.deliveries.suspension import Suspension
from celery_mailproxy.dispatch.resumer import capture_message
from celery_mailproxy.maintenance.board import Board, read_board
from celery_mailproxy.receiver.publisher import publisher_of
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.harness.proxy_conf import proxy_conf
from tests.harness.services import CeleryWorker, RedisServer
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long(120)]

MAIL = {"to": ["ann@example.com"], "subject": "S", "body": "B", "from_email": "shop@example.com"}
FULL = pytest.mark.full
FAR = datetime(2100, 1, 1, tzinfo=timezone.utc)


class Project:
    """An application, and workers of it."""

    def __init__(self, folder: Path, redis: RedisServer, **conf: Any) -> None:
        self.conf = {
            "broker_url": redis.url,
            "task_default_queue": f"mails-{uuid4()}",
            "mail_proxy_url": "http://127.0.0.1:9",
            "mail_proxy_store": f"sqlite:///{folder}/deliveries.sqlite3",
            "mail_proxy_maintenance_seconds": 0.5,
            "mail_proxy_outbox": True,
            "mail_proxy_outbox_seconds": 0.2,
            **conf,
        }
        self.app = Celery("publisher", set_as_current=False)
        self.app.conf.update(self.conf)
        self.stack = ExitStack()

    def worker(self, name: str = "w1", *options: str, module: str = "tests.harness.mail_app") -> CeleryWorker:
        env = {"TEST_CONF": json.dumps(self.conf)}
        options = ("-Q", self.conf["task_default_queue"], *(options or ("--concurrency", "1")))
        return self.stack.enter_context(CeleryWorker(module, name=name, options=options, env=env))

    @property
    def board(self) -> Board | None:
        return read_board(get_runtime(self.app).store)

    def wait_board(self, condition: Callable[[Board], bool], *workers: CeleryWorker) -> Board:
        def holds() -> bool:
            board = self.board
            return board is not None and condition(board)

        wait_until(holds, lambda: f"{self.board}\n" + "\n".join(worker.log[-2000:] for worker in workers))
        board = self.board
        assert board is not None
        return board

    def close(self) -> None:
        self.stack.close()
        forget_runtime(self.app)
        self.app.close()


@pytest.fixture
def project(tmp_path: Path, redis_server: RedisServer) -> Iterator[Callable[..., Project]]:
    made: list[Project] = []

    def make(**conf: Any) -> Project:
        made.append(Project(tmp_path, redis_server, **conf))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


def test_a_worker_sweeps_up_reports_and_moves_results_on(project: Callable[..., Project], proxy: FakeProxy) -> None:
    one = project(**proxy_conf(proxy))
    runtime = get_runtime(one.app)
    long_ago = utcnow() - timedelta(days=2)
    runtime.store.clock = lambda: long_ago
    # The run that had claimed its report is gone.
    sent = Delivery(message_id="reported", created_at=long_ago, updated_at=long_ago)
    runtime.store.register([sent])
    runtime.store.record([DeliveryReport(kind=Kind.SENT, message_id="reported", at=long_ago)], claim="gone")
    # The task of this mail is gone, before it could submit it.
    task = one.app.tasks[task_names.DELIVER]
    info = {"exchange": "", "routing_key": one.conf["task_default_queue"]}
    task.push_request(id="stalled", args=[], kwargs=MAIL, delivery_info=info, retries=0, headers={})
    message = capture_message(task, ignore_result=False, args_bytes=1000, queue=None)
    task.pop_request()
    suspension = Suspension(owner="stalled", since=long_ago, message=message)
    stalled = Delivery(message_id="stalled", created_at=long_ago, updated_at=long_ago, suspension=suspension)
    runtime.store.register([replace(stalled, task_id="stalled", tenant_id=proxy.tenant_id)])
    worker = one.worker()
    wait_until(lambda: [mail["id"] for mail in proxy.received] == ["stalled"], lambda: worker.log)

    def is_dispatched() -> bool:
        delivery = runtime.store.get("reported")
        return delivery is not None and delivery.history[0].is_dispatched

    wait_until(is_dispatched, lambda: worker.log)


@pytest.mark.parametrize(
    "pool", ["prefork", *(pytest.param(name, marks=FULL) for name in ("solo", "threads", "gevent", "eventlet"))]
)
def test_a_worker_of_every_pool_publishes_what_the_broker_has_lost(
    pool: str, project: Callable[..., Project], proxy: FakeProxy, redis_server: RedisServer
) -> None:
    one = project(**proxy_conf(proxy))
    lost = one.app.tasks["celery_mailproxy.send_via_proxy"].delay(**MAIL)
    with redis_server.client() as client:
        assert client.delete(one.conf["task_default_queue"]) == 1
    worker = one.worker("w1", "--pool", pool, "--concurrency", "2")
    wait_until(lambda: [mail["id"] for mail in proxy.received] == [lost.id], lambda: worker.log[-3000:])
    wait_until(lambda: not get_runtime(one.app).store.outbox.due(now=FAR, limit=1), "the mail is dropped")
    board = one.wait_board(lambda board: board.duties["outbox"].problem is None, worker)
    assert board.by.startswith("w1@")
    # Its end does not wait for the maintenance, and leaves the lease.
    worker.stop()
    assert "mailproxy maintenance" in worker.log
    assert get_runtime(one.app).store.take_lease("maintenance", "another", seconds=1)


def test_a_report_whose_task_the_broker_has_lost_is_dispatched(
    project: Callable[..., Project], redis_server: RedisServer
) -> None:
    one = project()
    runtime = get_runtime(one.app)
    now = utcnow()
    runtime.store.register([Delivery(message_id="reported", created_at=now, updated_at=now)])
    report = DeliveryReport(kind=Kind.SENT, message_id="reported", at=now, raw={"id": "reported", "sent_ts": 1})
    # As if it had been received long ago.
    runtime.store.clock = lambda: now - timedelta(hours=1)
    publisher_of(runtime)([report])
    with redis_server.client() as client:
        assert client.delete(one.conf["task_default_queue"]) == 1
    worker = one.worker()

    def is_dispatched() -> bool:
        delivery = runtime.store.get("reported")
        return delivery is not None and delivery.history[0].is_dispatched

    wait_until(is_dispatched, lambda: worker.log)
    assert worker.log.count("nobody has dispatched its sent report") == 1


def test_of_two_workers_one_leads_and_the_other_takes_over(project: Callable[..., Project]) -> None:
    one = project()
    workers = {name: one.worker(name) for name in ("w1", "w2")}
    leader = one.wait_board(lambda board: True, *workers.values()).by.partition("@")[0]
    rounds: set[Any] = set()

    def ten_rounds() -> bool:
        board = one.board
        assert board is not None
        assert board.by.startswith(f"{leader}@")
        rounds.add(board.at)
        return len(rounds) >= 10

    wait_until(ten_rounds, "ten rounds of one leader")
    workers.pop(leader).kill()
    (other,) = workers
    # Within the lease, which is ten seconds at least.
    one.wait_board(lambda board: board.by.startswith(f"{other}@"), *workers.values())
    assert [worker.log.count("leads") for worker in workers.values()] == [1]


def test_children_are_forked_while_the_maintenance_runs(project: Callable[..., Project], proxy: FakeProxy) -> None:
    """A lock that its thread held at the fork would be held in the child for ever."""
    one = project(mail_proxy_maintenance_seconds=0.01, **proxy_conf(proxy))
    worker = one.worker("w1", "--concurrency", "2", "--max-tasks-per-child", "1")
    results = [one.app.tasks["celery_mailproxy.send_via_proxy"].delay(**MAIL) for _ in range(40)]
    wait_until(lambda: len({mail["id"] for mail in proxy.received}) == 40, lambda: worker.log[-3000:])
    assert {mail["id"] for mail in proxy.received} == {result.id for result in results}


def test_a_worker_starts_and_ends_while_the_store_is_away(project: Callable[..., Project]) -> None:
    one = project(mail_proxy_store="redis://127.0.0.1:1/0", mail_proxy_maintenance_seconds=0.05)
    worker = one.worker("w1")
    worker.wait_for_log("mailproxy maintenance: the round failed: StoreError")
    worker.stop()
    # One line, not one for each round.
    assert worker.log.count("mailproxy maintenance: the round failed") == 1
    assert "Traceback" not in worker.log


@FULL
def test_a_store_that_comes_back_is_used_again(project: Callable[..., Project]) -> None:
    with RedisServer() as server:
        one = project(mail_proxy_store=server.url)
        worker = one.worker("w1")
        before = one.wait_board(lambda board: True, worker).at
        server.kill()
        worker.wait_for_log("mailproxy maintenance: the round failed: StoreError")
        server.start()
        one.wait_board(lambda board: board.at > before, worker)


@pytest.mark.parametrize("seconds", [0, 0.5])
def test_it_can_be_switched_off(project: Callable[..., Project], seconds: float) -> None:
    one = project(mail_proxy_maintenance_seconds=seconds)
    worker = one.worker("w1")
    if seconds:
        one.wait_board(lambda board: True, worker)
    worker.stop()
    # The task for Celery beat is there either way.
    assert "celery_mailproxy.maintain" in worker.log
    assert ("mailproxy maintenance" in worker.log) is bool(seconds)


def test_the_end_of_a_worker_waits_for_no_duty(project: Callable[..., Project], tmp_path: Path) -> None:
    """Its store does not answer: another process holds SQLite's lock."""
    one = project(mail_proxy_store=f"sqlite:///{tmp_path}/locked.sqlite3?timeout_seconds=600")
    store = get_runtime(one.app).store
    assert isinstance(store, SQLiteStore)
    worker = one.worker("w1")
    one.wait_board(lambda board: True, worker)
    with store._file.writing():
        pid = worker.pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        assert worker.process is not None
        worker.process.wait(timeout=120)
