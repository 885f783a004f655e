"""Events: in order, in bundles, in the right name; and never at a mail's cost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Consumer

from celery_mailproxy.dispatch.events import EventSender
from celery_mailproxy.runtime import Producers
from tests.harness.waiting import PATIENCE_SECONDS


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("events", broker="memory://", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def sender(app: Celery) -> Iterator[EventSender]:
    producers = Producers(app)
    sender = EventSender(app=app, producers=producers)
    yield sender
    sender.close()
    producers.close()


class Onlooker:
    """Receives events in a thread of its own, as `celery events` does."""

    def __init__(self, app: Celery) -> None:
        self.seen: list[dict[str, Any]] = []
        self.bundles = 0
        self._connection = app.connection_for_read()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self.seen.append})
        self._consumer = self._receiver.consumer_context

    def __enter__(self) -> Onlooker:
        self._channel = self._connection.channel()
        (self._queue_consumer,) = self._receiver.get_consumers(self._consumer_of, self._channel)
        self._queue_consumer.consume()
        return self

    def _consumer_of(self, *args: Any, **kwargs: Any) -> Any:
        consumer = Consumer(self._channel, *args, **kwargs)
        consumer.register_callback(self._count)
        return consumer

    def _count(self, body: Any, message: Any) -> None:
        self.bundles += 1

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        while len(self.seen) < number:
            self._connection.drain_events(timeout=PATIENCE_SECONDS)
        return self.seen

    def __exit__(self, *error: object) -> None:
        self._queue_consumer.cancel()
        self._connection.close()


def test_events_of_one_moment_come_in_order_and_in_one_bundle(
    app: Celery, sender: EventSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A moment is longer on a busy machine.
    monkeypatch.setattr(sys.modules[EventSender.__module__], "_DELAY_SECONDS", 5)
    with Onlooker(app) as onlooker:
        for number in range(50):
            sender.send("mail-sent", {"message_id": str(number)})
        sender.flush()
        seen = onlooker.wait_for(50)
    assert [event["message_id"] for event in seen] == [str(number) for number in range(50)]
    assert onlooker.bundles == 1


def test_an_event_keeps_its_time_and_the_name_it_was_sent_in(app: Celery, sender: EventSender) -> None:
    with Onlooker(app) as onlooker:
        sender.send("task-deferred", {"uuid": "m", "timestamp": 123.5}, hostname="celery@elsewhere")
        sender.send("mail-sent", {"message_id": "m"})
        by_type = {event["type"]: event for event in onlooker.wait_for(2)}
    assert by_type["task-deferred"]["hostname"] == "celery@elsewhere"
    assert by_type["task-deferred"]["timestamp"] == 123.5
    assert by_type["mail-sent"]["hostname"] != "celery@elsewhere"


def test_many_events_do_not_wait_for_the_clock(app: Celery, sender: EventSender) -> None:
    with Onlooker(app) as onlooker:
        for number in range(250):
            sender.send("mail-sent", {"message_id": str(number)})
        assert len(onlooker.wait_for(250)) == 250
    assert onlooker.bundles >= 3


def test_what_waits_is_sent_when_the_sender_is_closed(app: Celery, sender: EventSender) -> None:
    with Onlooker(app) as onlooker:
        sender.send("mail-sent", {"message_id": "m"})
        sender.close()
        assert len(onlooker.wait_for(1)) == 1


def test_no_mail_waits_for_a_broker_that_is_gone() -> None:
    app = Celery("events", broker="redis://127.0.0.1:1", set_as_current=False)
    producers = Producers(app)
    sender = EventSender(app=app, producers=producers)
    sender.send("mail-sent", {"message_id": "m"})
    sender.flush()
    # One failure was enough: for a while nothing is even kept.
    before = threading.active_count()
    for _ in range(1000):
        sender.send("mail-sent", {"message_id": "m"})
    assert threading.active_count() <= before
    sender.close()
    producers.close()
