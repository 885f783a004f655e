"""`ForkGate`: forks and busy threads wait for one another, but not for ever."""

from __future__ import annotations

import threading
import time

import pytest

from celery_mailproxy.receiver.fork_gate import ForkGate
from tests.harness.waiting import PATIENCE_SECONDS


@pytest.fixture
def gate() -> ForkGate:
    return ForkGate()


def in_thread(call: object) -> threading.Thread:
    thread = threading.Thread(target=call)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_fork_waits_for_a_busy_thread(gate: ForkGate) -> None:
    is_busy, events = threading.Event(), []

    def work() -> None:
        with gate.busy():
            is_busy.set()
            time.sleep(0.2)
            events.append("done")

    thread = in_thread(work)
    assert is_busy.wait(PATIENCE_SECONDS)
    gate.before_fork()
    events.append("forked")
    gate.after_fork_in_parent()
    thread.join()
    assert events == ["done", "forked"]


def test_thread_waits_for_a_fork(gate: ForkGate) -> None:
    events = []

    def work() -> None:
        with gate.busy():
            events.append("busy")

    gate.before_fork()
    thread = in_thread(work)
    time.sleep(0.2)
    events.append("forked")
    gate.after_fork_in_parent()
    thread.join()
    assert events == ["forked", "busy"]


def test_fork_is_not_held_up_for_ever(gate: ForkGate) -> None:
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


def test_busy_thread_may_fork_itself(gate: ForkGate) -> None:
    # If it waited for itself, it would do so until the test is given up.
    gate.limit_seconds = 3600
    with gate.busy():
        gate.before_fork()
        gate.after_fork_in_parent()


def test_child_starts_anew(gate: ForkGate) -> None:
    gate.before_fork()
    gate.after_fork_in_child()
    with gate.busy():
        pass
