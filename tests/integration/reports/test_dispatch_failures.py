"""Each report is dispatched, and its handlers run once, unless a worker dies inside of them: with real brokers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.dispatch.sweep import sweep
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RabbitServer, RedisServer
from ...harness.tap import Tap

pytestmark = [pytest.mark.integration, pytest.mark.long(220)]

DISPATCH = "celery_mailproxy.dispatch_reports"

#: A task of a dead worker is given out again after this time, instead of an hour. More than a claim holds.
_VISIBILITY_SECONDS = 20


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities") as proxy:
        proxy.plan("silent@example.com")
        yield proxy


@contextmanager
def running(proxy: FakeProxy, broker_url: str, **conf: Any) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25).add()
    with MailStack(tenant, broker_url=broker_url, conf=conf) as stack:
        yield stack


class Reports:
    """Mails that the proxy has, and one batch with a report of each, oldest first."""

    def __init__(self, stack: MailStack, number: int) -> None:
        self.stack = stack
        self.ids = [stack.tenant.message_id(f"report-{n}") for n in range(number)]
        for message_id in self.ids:
            stack.send(message_id=message_id, to=["silent@example.com"])
        for message_id in self.ids:
            stack.wait_told(message_id, "mail_queued")

    def post(self) -> None:
        now = int(time.time())
        answer = self.stack.post_reports(*({"id": each, "sent_ts": now + n} for n, each in enumerate(self.ids)))
        assert answer.status_code == 200

    def begun(self) -> list[int]:
        """How often the handler of each has begun."""
        return [self.stack.told(each)["mail_sent"] for each in self.ids]

    def wait_begun(self, numbers: Sequence[int]) -> None:
        self.stack.wait_until(lambda: self.begun() == list(numbers), what=f"handlers begun: {numbers}")

    def assert_once(self) -> None:
        for message_id in self.ids:
            self.stack.wait_told(message_id, "mail_sent", "noted:sent")
        self.stack.drain()
        assert self.begun() == [1] * len(self.ids)


def ended(stack: MailStack) -> int:
    """How many runs of the dispatch task have come to their end."""
    return sum(DISPATCH in line and " succeeded in " in line for line in stack.worker.log.splitlines())


def test_a_connection_that_is_cut_while_handlers_run_runs_none_twice(
    proxy: FakeProxy, rabbit_server: RabbitServer
) -> None:
    conf = {"worker_cancel_long_running_tasks_on_connection_loss": False}
    with Tap(rabbit_server.port) as tap, ExitStack() as stacks:
        broker_url = rabbit_server.url_at(tap.port)
        stack = stacks.enter_context(running(proxy, broker_url, **conf))
        reports = Reports(stack, 3)
        with stack.held_where_told(reports.ids[1], "sent"):
            reports.post()
            reports.wait_begun([1, 1, 0])
            before = ended(stack)
            with tap.shut():
                pass
            # The broker gives the task out again; it finds the claims held, and comes back later, more than once: the
            # claims are renewed for as long as the handler runs.
            stack.wait_until(lambda: ended(stack) >= before + 3, what="copies of the task")
            assert reports.begun() == [1, 1, 0]
        reports.assert_once()


def test_a_task_that_redis_gives_out_again_while_handlers_run_runs_none_twice(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    options = {"visibility_timeout": _VISIBILITY_SECONDS, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
    with running(proxy, redis_server.url, broker_transport_options=options) as stack:
        reports = Reports(stack, 3)
        queued = stack.tenant.message_id("queued")
        with stack.held_where_told(reports.ids[1], "sent"), stack.held_where_told(queued, "queued"):
            reports.post()
            stack.send(message_id=queued, to=["silent@example.com"])
            reports.wait_begun([1, 1, 0])
            stack.wait_told(queued, "mail_queued")
            # Both pool processes are in a handler: the copies are run once one of them is free.
            stack.wait_until(lambda: stack.worker.log.count("received") >= 8, what="the copies")
            assert reports.begun() == [1, 1, 0]
            assert stack.told(queued)["mail_queued"] == 1
        reports.assert_once()
        assert stack.told(queued)["mail_queued"] == 1


def test_a_worker_that_is_killed_in_a_handler_has_its_reports_dispatched_again(
    proxy: FakeProxy, rabbit_server: RabbitServer
) -> None:
    with running(proxy, rabbit_server.url) as stack:
        reports = Reports(stack, 4)
        hung = stack.hang_where_told(reports.ids[1], "sent")
        with stack.killed_when(hung.exists, what="the handler"):
            reports.post()
        reports.wait_begun([1, 2, 1, 1])
        stack.drain()
        assert reports.begun() == [1, 2, 1, 1]


def test_a_report_that_a_killed_worker_had_not_recorded_is_dispatched_once(
    proxy: FakeProxy, rabbit_server: RabbitServer
) -> None:
    with running(proxy, rabbit_server.url) as stack:
        reports = Reports(stack, 3)
        *busy, waiting = reports.ids
        hung = [stack.hang_where_told(each, "sent") for each in busy]
        now = int(time.time())
        for message_id in busy:
            assert stack.post_reports({"id": message_id, "sent_ts": now}).status_code == 200
        stack.wait_until(lambda: all(each.exists() for each in hung), what="both pool processes are in a handler")
        received = stack.worker.log.count(f"{DISPATCH}[")
        with stack.killed_when(
            lambda: stack.worker.log.count(f"{DISPATCH}[") > received, what="the worker has the third report's task"
        ):
            assert stack.post_reports({"id": waiting, "sent_ts": now}).status_code == 200
        reports.wait_begun([2, 2, 1])
        stack.drain()
        assert reports.begun() == [2, 2, 1]
        assert stack.told(waiting)["noted:sent"] == 1


def test_reports_whose_task_the_broker_keeps_to_itself_are_swept_up(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    """As on Redis, which gives a dead worker's task out again after an hour only."""
    with running(proxy, redis_server.url) as stack:
        reports = Reports(stack, 3)
        hung = stack.hang_where_told(reports.ids[1], "sent")
        reports.post()
        stack.wait_until(hung.exists, what="the handler")
        stack.worker.kill()
        stack.worker.start()
        _sweep(stack, 2)
        reports.wait_begun([1, 2, 1])
        # Not drained: the broker still has the dead worker's task. Of those of the sweep there are two.
        stack.wait_until(lambda: ended(stack) == 2, what="the tasks of the sweep")
        assert sweep(get_runtime(stack.app), now=utcnow() + timedelta(minutes=1), limit=100) == 0
        assert reports.begun() == [1, 2, 1]


def _sweep(stack: MailStack, number: int) -> None:
    """Sweep until so many reports have been found: that is once their claims are stale."""
    runtime = get_runtime(stack.app)
    found = 0

    def is_complete() -> bool:
        nonlocal found
        found += sweep(runtime, now=utcnow() + timedelta(minutes=1), limit=100)
        return found >= number

    stack.wait_until(is_complete, what=f"{number} reports")
    assert found == number


def test_a_store_that_dies_while_a_handler_runs_makes_it_run_no_second_time(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    with RedisServer() as store, running(proxy, redis_server.url, mail_proxy_store=store.url) as stack:
        reports = Reports(stack, 3)
        with stack.held_where_told(reports.ids[1], "sent"):
            reports.post()
            reports.wait_begun([1, 1, 0])
            store.kill()
        # What the run could not note is handed to another task, which waits for the store.
        stack.wait_until(lambda: stack.worker.log.count("Retry in 5s") >= 2, what="the next task's retries")
        store.start()
        reports.assert_once()
        assert stack.delivery(reports.ids[1]).history[-1].is_dispatched


def test_store_and_broker_that_die_together_while_a_handler_runs_make_it_run_no_second_time(proxy: FakeProxy) -> None:
    with RedisServer() as both, running(proxy, both.url_of(0), mail_proxy_store=both.url_of(1)) as stack:
        reports = Reports(stack, 3)
        with stack.held_where_told(reports.ids[1], "sent"):
            reports.post()
            reports.wait_begun([1, 1, 0])
            both.kill()
        # The handler has ended, and its run waits for one of the two.
        stack.worker.wait_for_log("neither store nor broker takes note of it")
        both.start()
        _revive(stack)
        stack.wait_until(lambda: stack.delivery(reports.ids[1]).history[-1].is_dispatched, what="the mark")
        # What the worker had, and could not acknowledge: all of it has been dispatched.
        stack.give_out_again()
        reports.assert_once()


def _revive(stack: MailStack) -> None:
    """Wait until a worker has connected to its Redis anew; where it ends instead, start another one.

    Some releases of kombu end a worker whose Redis goes away while it has a task in hand.
    """
    stack.wait_until(
        lambda: stack.worker.pid is None or stack.worker.log.count("Connected to redis") > 1, what="the worker"
    )
    if stack.worker.pid is None:
        stack.worker.start()


# Time limits


def test_the_applications_own_time_limit_strikes_no_handler(proxy: FakeProxy, redis_server: RedisServer) -> None:
    conf = {"task_soft_time_limit": 1, "task_time_limit": 2}
    with running(proxy, redis_server.url, **conf) as stack:
        reports = Reports(stack, 6)
        with stack.held_where_told(reports.ids[2], "sent"):
            reports.post()
            reports.wait_begun([1, 1, 1, 0, 0, 0])
            limit_is_over = time.monotonic() + 2 * conf["task_time_limit"]
            stack.wait_until(lambda: time.monotonic() > limit_is_over, what="more time than the limit")
        reports.assert_once()
        assert "time limit" not in stack.worker.log
        assert get_runtime(stack.app).store.failed() == []


def _limited(soft: int, hard: int) -> dict[str, Any]:
    return {"task_annotations": {DISPATCH: {"soft_time_limit": soft, "time_limit": hard}}}


def test_a_soft_time_limit_fails_one_handler_and_costs_no_other_report(
    proxy: FakeProxy, redis_server: RedisServer
) -> None:
    with running(proxy, redis_server.url, **_limited(2, 600)) as stack:
        reports = Reports(stack, 6)
        with stack.held_where_told(reports.ids[2], "sent"):
            reports.post()
            reports.assert_once()
        failed = stack.delivery(reports.ids[2]).history[-1].failed
        assert [name.partition(":")[0] for name in failed] == ["mail_sent"]
        assert get_runtime(stack.app).store.failed() == [reports.ids[2]]


def test_a_hard_time_limit_costs_no_other_report(proxy: FakeProxy, redis_server: RedisServer) -> None:
    with running(proxy, redis_server.url, **_limited(1, 3)) as stack:
        reports = Reports(stack, 6)
        with stack.held_where_told(reports.ids[2], "sent", is_stubborn=True):
            reports.post()
            stack.worker.wait_for_log("Hard time limit")
            # Celery has acknowledged the task: nobody but the sweep knows of the rest.
            _sweep(stack, 4)
            others = [0, 1, 3, 4, 5]
            stack.wait_until(lambda: all(reports.begun()[each] for each in others), what="the other reports")
            stack.wait_until(lambda: stack.worker.log.count("Hard time limit") == 2, what="the next limit")
        stack.drain()
        assert [reports.begun()[each] for each in others] == [1] * 5
