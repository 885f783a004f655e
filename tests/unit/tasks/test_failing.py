"""Nothing of ours that fails sets off another mail, whoever mails what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals as celery_signals
from celery import states

from celery_mailproxy import signals
from celery_mailproxy.conf import task_names

from ...harness.memory_worker import MemoryWorker, memory_worker

MAIL: dict[str, Any] = {"to": ["ann@example.com"], "subject": "S", "body": "B"}

TASKS = [task_names.SEND, task_names.DELIVER, task_names.SEND_MANY]


@pytest.fixture
def worker() -> Iterator[MemoryWorker]:
    """Its proxy is away, and no mail is tried twice."""
    with memory_worker(mail_proxy_max_retries=0) as worker:
        yield worker


def complaint(worker: MemoryWorker, results: list[Any]) -> Callable[..., None]:
    """A handler that mails what has gone wrong."""

    def complain(*args: Any, **kwargs: Any) -> None:
        results.append(worker.task(task_names.SEND).delay(**{**MAIL, "subject": "It failed"}))

    return complain


@contextmanager
def connected(signal: Any, handler: Callable[..., None]) -> Iterator[None]:
    signal.connect(handler, weak=False)
    try:
        yield
    finally:
        signal.disconnect(handler)


@contextmanager
def logging_to(handle: Callable[..., None]) -> Iterator[None]:
    """All that is logged as a warning or worse is handled so, as by Django's `AdminEmailHandler`."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = handle  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_the_failure_of_a_task_sets_off_no_mail(
    worker: MemoryWorker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    results: list[Any] = []
    with connected(celery_signals.task_failure, complaint(worker, results)):
        result = worker.task(name).delay(**MAIL)
        ended = worker.run_all()
    assert ended[-1] == states.FAILURE
    assert worker.take() == []
    assert [each.state for each in results] == [states.REVOKED]
    assert f"the failure of task {name}[{result.id}] has set it off" in caplog.text


def test_a_retry_sets_off_no_mail() -> None:
    results: list[Any] = []
    with memory_worker() as worker, connected(celery_signals.task_retry, complaint(worker, results)):
        worker.task(task_names.SEND).delay(**MAIL)
        (message,) = worker.take()
        assert worker.run(message) == states.RETRY
        assert [(each.task_id, each.headers["retries"]) for each in worker.take()] == [(message.task_id, 1)]
    assert len(results) == 1


@pytest.mark.parametrize("name", TASKS)
def test_what_is_logged_of_a_mail_sets_off_no_mail(worker: MemoryWorker, name: str) -> None:
    results: list[Any] = []
    arguments: dict[str, Any] = {"messages": [MAIL, MAIL]} if name == task_names.SEND_MANY else MAIL
    worker.task(name).delay(**arguments)
    messages = worker.take()
    with logging_to(complaint(worker, results)):
        for message in messages:
            worker.run(message)
    assert results, "something was logged"
    assert not [message for message in worker.take() if message.kwargs.get("subject") == "It failed"]
    assert {each.state for each in results} == {states.REVOKED}


def test_an_error_of_the_applications_own_is_mailed(worker: MemoryWorker) -> None:
    results: list[Any] = []
    with logging_to(complaint(worker, results)):
        logging.getLogger("shop").error("no bicycles left")
    assert [message.kwargs["subject"] for message in worker.take()] == ["It failed"]
    assert len(results) == 1


def test_the_failure_of_the_applications_own_task_is_mailed(worker: MemoryWorker) -> None:
    @worker.app.task(name="shop.fail", shared=False)  # type: ignore[untyped-decorator]
    def fail() -> None:
        raise ValueError("no bicycles left")

    results: list[Any] = []
    with connected(celery_signals.task_failure, complaint(worker, results)):
        fail.delay()
        (message,) = worker.take()
        assert worker.run(message) == states.FAILURE
    assert [each.kwargs["subject"] for each in worker.take()] == ["It failed"]


def test_handlers_of_our_own_signals_and_callbacks_may_send_mails(worker: MemoryWorker) -> None:
    """They are asked for, and a mail of theirs makes no other."""
    results: list[Any] = []
    handler = complaint(worker, results)
    signals.mail_error.connect(handler, sender=worker.app, weak=False)
    try:
        on_error = worker.task(task_names.SEND).si(**{**MAIL, "subject": "Called back"})
        worker.task(task_names.SEND).delay(**MAIL, on_error=on_error)
        (message,) = worker.take()
        assert worker.run(message) == states.FAILURE
    finally:
        signals.mail_error.disconnect(handler, sender=worker.app)
    assert {each.kwargs["subject"] for each in worker.take()} == {"It failed", "Called back"}
