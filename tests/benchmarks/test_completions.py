"""How fast results follow their mails, against empty tasks of Celery in the same run; and what a record weighs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from celery import chain, group

from celery_mailproxy.testing import FakeProxy
from tests.harness.mail_stack import MailStack
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]

COUNT = 500
TURNS = 6
STORE = 8


class Reporter:
    """Makes a proxy report several times a second, as the real one at its busiest, and not each mail by itself."""

    def __init__(self, proxy: FakeProxy) -> None:
        self.proxy = proxy
        self._stopped = threading.Event()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reporter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    @contextmanager
    def silence(self) -> Iterator[None]:
        """No reports in this block but those that are asked for."""
        self._silent.set()
        try:
            yield
        finally:
            self._silent.clear()

    def _run(self) -> None:
        while not self._stopped.wait(0.25):
            if not self._silent.is_set():
                self.proxy.send_reports()


@pytest.fixture(scope="module")
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        proxy.plan("silent@example.com")
        yield proxy


@pytest.fixture(scope="module")
def reporter(proxy: FakeProxy) -> Iterator[Reporter]:
    with Reporter(proxy) as reporter:
        yield reporter


@pytest.fixture(scope="module")
def stack(proxy: FakeProxy, reporter: Reporter, redis_server: RedisServer) -> Iterator[MailStack]:
    """The default settings but for the store, and an application in which nobody listens."""
    tenant = ProxyTenant(proxy=proxy, suffix="shop")
    conf = {
        "result_backend": redis_server.url_of(7),
        "mail_proxy_store": redis_server.url_of(STORE),
        "broker_transport_options": {},
    }
    stack = MailStack(tenant, broker_url=redis_server.url, conf=conf)
    stack.worker.app = "tests.benchmarks.completions_app"
    with stack:
        yield stack


def mail(stack: MailStack, name: str = "ann") -> Any:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    return task.s(to=[f"{name}@example.com"], subject="Your order 1234", body="x" * 500)


def rate(signature: Any, count: int = COUNT) -> float:
    """Results per second, from the first publish to the last result; each signature tells the same task."""
    started = time.perf_counter()
    result = group([signature.clone() for _ in range(count)]).apply_async()
    result.get(timeout=120)
    return count / (time.perf_counter() - started)


def completion_rate(stack: MailStack, reporter: Reporter, count: int = COUNT) -> float:
    """Results per second of mails that all wait, from the proxy's first report to the last result."""
    with reporter.silence():
        result = group([mail(stack).clone() for _ in range(count)]).apply_async()
        for each in result.results:
            stack.wait_until(partial(is_waiting, stack, each.id), what="the mail waits")
        started = time.perf_counter()
        reporter.proxy.send_reports()
        result.get(timeout=120)
        return count / (time.perf_counter() - started)


def script_calls(redis_server: RedisServer) -> int:
    with redis_server.client() as client:
        return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_speed(
    stack: MailStack, reporter: Reporter, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result follows its mail at half the rate of an empty task or more: two executions, of which it waits for one.

    The whole way is printed only, for it holds the submission over HTTP as well, which an empty task has not.
    """
    flows: dict[str, Callable[[], float]] = {
        "empty task": lambda: rate(stack.app.signature("empty")),
        "report to result": lambda: completion_rate(stack, reporter),
        "publish to result": lambda: rate(mail(stack)),
    }
    rate(stack.app.signature("empty"), 20)
    rate(mail(stack), 20)
    speeds = dict.fromkeys(flows, 0.0)
    calls: dict[str, float] = {}
    # The best of several turns, since other programs take their share of some; on a quiet machine one is enough.
    for _ in range(TURNS):
        if speeds["report to result"] > 0.5 * speeds["empty task"]:
            break
        for name, flow in flows.items():
            before = script_calls(redis_server)
            speeds[name] = max(speeds[name], flow())
            calls[name] = (script_calls(redis_server) - before) / COUNT
    with capsys.disabled():
        print("\nresults per second, ratio, steps in the store (Redis for all, 2 processes):")
        for name, speed in speeds.items():
            print(f"  {name:20} {speed:6,.0f} {speed / speeds['empty task']:6.2f} {calls[name]:6.1f}")
    assert calls["publish to result"] <= 7.5
    assert speeds["report to result"] >= 0.5 * speeds["empty task"]


def weight(redis_server: RedisServer, message_id: str) -> int:
    with redis_server.client(STORE) as client:
        return int(client.memory_usage(f"celery-mailproxy:{{{message_id}}}"))


def test_bytes_of_a_waiting_record_in_redis(
    stack: MailStack, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = mail(stack, "silent").apply_async()
    nothing = stack.app.signature("empty", immutable=True)
    three = chain(nothing, mail(stack, "silent").set(immutable=True), nothing).apply_async()
    ended = mail(stack).apply_async()
    ended.get(timeout=20)
    waiting = {"plain": plain.id, "in a chain of three": three.parent.id}
    weights = {}
    for name, message_id in waiting.items():
        stack.wait_until(partial(is_waiting, stack, message_id), what=f"{name} waits")
        weights[name] = weight(redis_server, message_id)
    stack.wait_until(lambda: stack.delivery(ended.id).suspension.state.value == "done", what="the tombstone")
    weights["ended"] = weight(redis_server, ended.id)
    with capsys.disabled():
        print("\nredis, bytes of a suspended result:", ", ".join(f"{k} {v:,}" for k, v in weights.items()), end="")
    assert weights["plain"] <= 2.5 * 1024
    assert weights["in a chain of three"] <= 3 * 1024
    assert weights["ended"] <= 400


def is_waiting(stack: MailStack, message_id: str) -> bool:
    delivery = stack.delivery(message_id)
    return bool(delivery and delivery.suspension and delivery.suspension.state.value == "waiting")
