"""`ForkGate`: forks and busy threads wait for one another, but not for ever."""

from __future__ import annotations

import threading

import pytest

from celery_mailproxy.receiver.fork_gate import ForkGate
from tests.harness.waiting import PATIENCE_SECONDS, wait_until


class WatchedCondition(threading.Condition):
    """Tells that somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.is_awaited.set()
        return super().wait(timeout)


class WatchedGate(ForkGate):
    """Holds up whom it is to hold up as long as the test needs, and tells that it does."""

    limit_seconds = PATIENCE_SECONDS

    def _reset(self) -> None:
        super()._reset()
        self._condition = self.condition = WatchedCondition()


@pytest.fixture
def gate() -> WatchedGate:
    return WatchedGate()


def in_thread(call: object) -> threading.Thread:
    thread = threading.Thread(target=call)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_fork_waits_for_a_busy_thread(gate: WatchedGate) -> None:
    is_busy = threading.Event()
    events: list[str] = []

    def work() -> None:
        with gate.busy():
            is_busy.set()
            wait_until(lambda: gate.condition.is_awaited.is_set() or events, "the fork waits, or does not")
            events.append("done")

    thread = in_thread(work)
    assert is_busy.wait(PATIENCE_SECONDS)
    gate.before_fork()
    events.append("forked")
    gate.after_fork_in_parent()
    thread.join()
    assert events == ["done", "forked"]


def test_thread_waits_for_a_fork(gate: WatchedGate) -> None:
    events: list[str] = []

    def work() -> None:
        with gate.busy():
            events.append("busy")

    gate.before_fork()
    thread = in_thread(work)
    wait_until(lambda: gate.condition.is_awaited.is_set() or events, "the thread waits, or does not")
    events.append("forked")
    gate.after_fork_in_parent()
    thread.join()
    assert events == ["forked", "busy"]


def test_fork_is_not_held_up_for_ever(gate: WatchedGate) -> None:
    gate.limit_seconds = 0.1
    is_busy, end = threading.Event(), threading.Event()

    def work() -> None:
        with gate.busy():
            is_busy.set()
            end.wait()

    thread = in_thread(work)
    assert is_busy.wait(PATIENCE_SECONDS)
    gate.before_fork()
    assert thread.is_alive()
    gate.after_fork_in_parent()
    end.set()
    thread.join()


def test_busy_thread_may_fork_itself(gate: WatchedGate) -> None:
    with gate.busy():
        gate.before_fork()
        gate.after_fork_in_parent()
    assert not gate.condition.is_awaited.is_set()


def test_child_starts_anew(gate: WatchedGate) -> None:
    # Who waited in vain would be seen, and not for long.
    gate.limit_seconds = 0.1
    gate.before_fork()
    gate.after_fork_in_child()
    with gate.busy():
        assert not gate.condition.is_awaited.is_set()
