"""A result that the backend does not take: it is stored later as what it is, and all that follows happens once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.exceptions import Retry
from celery.signals import task_failure, task_success

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.suspension import Step, Suspension, SuspensionState
from celery_mailproxy.dispatch.resumer import RESUME_HEADER, capture_message
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.tasks.results import storing

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
TOKEN = "the resumed run's"


class Installation:
    """A resumed run, with a link, in a chain and in a chord, whose backend fails when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queue = f"mails-{uuid4()}"
        self.app = Celery("storing", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(mail_proxy_url="http://127.0.0.1:9", mail_proxy_store=f"memory://{uuid4()}")
        self.app.conf.update(mail_proxy_events=False, task_default_queue=self.queue)
        self.task = self.app.tasks[task_names.DELIVER]
        self.id = str(uuid4())
        self.store = get_runtime(self.app).store
        self.failures = 0
        self.parts: list[str] = []
        self.backend = self.app.backend
        store_result = self.backend.store_result

        def failing(*args: Any, **kwargs: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise ConnectionError("the backend is away")
            return store_result(*args, **kwargs)

        def count_part(request: Any, state: str, result: Any, **kwargs: Any) -> None:
            self.parts.append(state)

        monkeypatch.setattr(self.backend, "store_result", failing)
        monkeypatch.setattr(self.backend, "on_chord_part_return", count_part)

    def request(self) -> dict[str, Any]:
        following = self.app.signature("shop.next", queue=self.queue, immutable=True, task_id=str(uuid4()))
        return {
            "id": self.id,
            "is_eager": False,
            "delivery_info": {"exchange": "", "routing_key": self.queue},
            "callbacks": [self.app.signature("shop.link", queue=self.queue)],
            "chain": [following],
            "chord": self.app.signature("shop.body"),
            "group": "g1",
            "group_index": 3,
            "errbacks": [],
            "retries": 0,
            "hostname": "w1",
        }

    def end(self, kind: Kind, **headers: Any) -> None:
        """Register the mail with its task's message, and report its end."""
        self.task.push_request(**self.request(), headers=headers)
        message = capture_message(self.task, ignore_result=False, args_bytes=1000, queue=None)
        self.task.pop_request()
        suspension = Suspension(owner=self.id, since=NOW, state=SuspensionState.WAITING, message=message)
        delivery = Delivery(message_id=self.id, created_at=NOW, updated_at=NOW, suspension=suspension)
        self.store.register([delivery])
        report = DeliveryReport(kind=kind, message_id=self.id, at=NOW, reason="550 no")
        self.store.record([report], claim="c")

    def run(self, **headers: Any) -> Any:
        header = {RESUME_HEADER: {"id": self.id, "token": TOKEN}, **headers}
        trace = build_tracer(self.task.name, self.task, self.app.loader, "w1", app=self.app)
        return trace(self.id, (), {}, {**self.request(), **header, "headers": header})

    def published(self) -> list[tuple[str, Any]]:
        """The names and arguments of the tasks that have been published since."""
        found = []
        with self.app.connection_for_read() as connection, connection.SimpleQueue(self.queue) as queue:
            while len(queue):
                message = queue.get(block=False)
                message.ack()
                found.append((message.headers["task"], message.payload[0]))
        return found

    def store_again(self, arguments: Any) -> None:
        """Run the task that stores the result."""
        task = self.app.tasks[task_names.STORE_RESULT]
        task.push_request(id="s1", called_directly=False, is_eager=False, retries=0, delivery_info={}, args=arguments)
        try:
            task.run(*arguments)
        finally:
            task.pop_request()

    @property
    def state(self) -> SuspensionState:
        delivery = self.store.get(self.id)
        assert delivery is not None
        assert delivery.suspension is not None
        return delivery.suspension.state


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    installation = Installation(monkeypatch)
    yield installation
    forget_runtime(installation.app)
    installation.app.close()


@pytest.fixture
def ends(installation: Installation) -> Iterator[list[str]]:
    """Celery's signals for the ends of the task's runs."""
    ends: list[str] = []

    def note(signal: Any, **kwargs: Any) -> None:
        ends.append(signal.name)

    for each in (task_success, task_failure):
        each.connect(note, sender=installation.task, weak=False)
    yield ends
    for each in (task_success, task_failure):
        each.disconnect(note, sender=installation.task)


def test_a_result_that_is_taken_is_stored_as_ever(installation: Installation, ends: list[str]) -> None:
    installation.end(Kind.SENT)
    installation.run()
    assert installation.app.AsyncResult(installation.id).state == "SUCCESS"
    assert (installation.parts, installation.state) == (["SUCCESS"], SuspensionState.DONE)
    assert [name for name, _ in installation.published()] == ["shop.link", "shop.next"]
    assert ends == ["task_success"]


@pytest.mark.parametrize("collects", [False, True])
def test_a_sent_mails_result_is_success_when_the_backend_is_back(
    installation: Installation, ends: list[str], collects: bool
) -> None:
    headers = {"mail_proxy_collect": True} if collects else {}
    installation.end(Kind.SENT, **headers)
    installation.failures = 1
    installation.run(**headers)
    assert installation.app.AsyncResult(installation.id).state == "PENDING"
    assert (installation.parts, installation.state) == ([], SuspensionState.RUNNING)
    (link, following, (name, arguments)) = installation.published()
    assert [link[0], following[0], name] == ["shop.link", "shop.next", task_names.STORE_RESULT]
    installation.failures = 1
    with pytest.raises(Retry):
        installation.store_again(arguments)
    assert [name for name, _ in installation.published()] == [task_names.STORE_RESULT]
    installation.store_again(arguments)
    result = installation.app.AsyncResult(installation.id)
    assert result.state == "SUCCESS"
    assert result.result["outcome" if collects else "kind"] == "sent"
    assert [child.id for child in result.children] == [child[0][0] for child in arguments[3]]
    assert len(result.children) == 2
    assert (installation.parts, installation.state) == (["SUCCESS"], SuspensionState.DONE)
    # Once more, as a broker may: nothing.
    installation.store_again(arguments)
    assert installation.parts == ["SUCCESS"]
    assert installation.published() == []
    assert ends == ["task_success"]


def test_a_mail_that_was_not_sent_fails_with_its_own_error(installation: Installation, ends: list[str]) -> None:
    installation.end(Kind.ERROR)
    installation.failures = 1
    installation.run()
    assert installation.parts == []
    ((name, arguments),) = installation.published()
    assert name == task_names.STORE_RESULT
    installation.store_again(arguments)
    result = installation.app.AsyncResult(installation.id)
    assert result.state == "FAILURE"
    assert type(result.result).__name__ == "DeliveryError"
    assert "550 no" in str(result.result)
    # The chord's part, and the next of the chain, which fails with it.
    assert installation.parts == ["FAILURE"]
    assert installation.state is SuspensionState.DONE
    assert ends == ["task_failure"]


def test_a_broker_that_is_away_too_is_waited_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installation.end(Kind.SENT)
    installation.failures = 3
    producers = get_runtime(installation.app).producers
    acquire: Callable[[], Any] = producers.acquire
    tries = 0

    def fail_twice() -> Any:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise ConnectionError("the broker is away")
        return acquire()

    monkeypatch.setattr(producers, "acquire", fail_twice)
    monkeypatch.setattr(storing, "_BREATH_SECONDS", 0.0)
    installation.run()
    assert tries == 3
    assert installation.published()[-1][0] == task_names.STORE_RESULT
    assert "its result is stored later: ConnectionError" in caplog.text


def test_where_nothing_can_be_published_the_record_is_left_to_the_janitor(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.end(Kind.SENT)
    installation.failures = 1000

    def fail() -> Any:
        raise ConnectionError("the broker is away")

    monkeypatch.setattr(get_runtime(installation.app).producers, "acquire", fail)
    monkeypatch.setattr(storing, "_BREATH_SECONDS", 0.0)
    monkeypatch.setattr(storing, "_PATIENCE_SECONDS", 0.0)
    installation.run()
    assert installation.state is SuspensionState.RUNNING


def test_a_run_that_another_has_taken_over_stores_nothing(installation: Installation) -> None:
    installation.end(Kind.SENT)
    installation.failures = 1
    installation.run()
    arguments = installation.published()[-1][1]
    message_id, token, *rest = arguments
    installation.store.advance(message_id, Step.FINISH, token=token)
    installation.store_again([message_id, token, *rest])
    assert installation.parts == []


def test_outside_a_resumed_run_the_backend_is_celerys_own(installation: Installation) -> None:
    assert installation.task.backend is installation.backend
    assert installation.task.AsyncResult("x").backend is installation.backend
