"""Where a waiting task holds its worker's prefetch, and how it waits in RabbitMQ instead."""

from __future__ import annotations

import inspect
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu import Exchange, Queue

from celery_mailproxy.broker.quorum_queues import quorum_queue, waiting_options, waits_in_worker
from celery_mailproxy.tasks.results.worker_hooks import report_quorum_queues

QUORUM = {"task_default_queue_type": "quorum", "task_default_queue": "mails"}
ANON = {"exchange": "", "routing_key": "mails"}


def app_of(broker: str = "amqp://", **conf: Any) -> Celery:
    app = Celery("quorum", broker=broker, set_as_current=False)
    app.conf.update(conf)
    return app


@pytest.mark.parametrize(
    ("broker", "conf", "expected"),
    [
        ("amqp://", {}, False),
        ("amqp://", QUORUM, True),
        ("amqp://", {**QUORUM, "task_default_exchange_type": "topic"}, False),
        ("redis://", QUORUM, False),
        (
            "amqp://",
            {"task_queues": [Queue("mails"), Queue("other", queue_arguments={"x-queue-type": "quorum"})]},
            True,
        ),
    ],
    ids=["classic", "direct", "topic", "redis", "another queue is one"],
)
def test_a_waiting_task_holds_the_prefetch_of_a_worker_with_a_quorum_queue(
    broker: str, conf: dict[str, Any], expected: bool
) -> None:
    app = app_of(broker, **conf)
    assert waits_in_worker(app, "mails") is expected
    assert ("exchange" in waiting_options(app, ANON, 5)) is expected


def test_a_queue_that_the_app_does_not_know_is_left_to_celery() -> None:
    app = app_of(**QUORUM, task_create_missing_queues=False)
    assert waiting_options(app, {"exchange": "", "routing_key": "strange"}, 5) == {"countdown": 5}


@pytest.mark.parametrize(
    "delivery_info", [{}, {"exchange": "shop", "routing_key": "mails"}, {"exchange": None, "routing_key": None}]
)
def test_a_message_whose_queue_is_unknown_is_left_to_celery(delivery_info: dict[str, Any]) -> None:
    assert waiting_options(app_of(**QUORUM), delivery_info, 5) == {"countdown": 5}


def test_rabbitmq_waits_for_the_seconds_that_the_routing_key_says_in_bits() -> None:
    options = waiting_options(app_of(**QUORUM), ANON, 5.2)
    assert options["countdown"] == 0
    assert options["exchange"].name == "celery_delayed_27"
    bits, _, queue = options["routing_key"].rpartition(".")
    assert (int(bits.replace(".", ""), 2), bits.count("."), queue) == (6, 27, "mails")


def test_it_leads_back_to_this_queue_and_to_no_other() -> None:
    (back,) = waiting_options(app_of(**QUORUM), ANON, 1)["declare"]
    assert (back.name, back.exchange.name, back.exchange.type) == ("mails", "celery_delayed_delivery", "topic")
    assert back.routing_key == "*." * 28 + "mails"
    # Declared as it is already: another type would be refused.
    assert back.queue_arguments == {"x-queue-type": "quorum"}


def test_what_has_waited_may_wait_again() -> None:
    app = app_of(**QUORUM)
    first = waiting_options(app, ANON, 3)
    delivered = {"exchange": "celery_delayed_0", "routing_key": first["routing_key"]}
    again = waiting_options(app, delivered, 600)
    assert again["routing_key"].count(".") == 28
    assert again["routing_key"].endswith(".mails")


def test_a_wait_too_long_for_the_bits_is_as_long_as_they_say() -> None:
    key = waiting_options(app_of(**QUORUM), ANON, 2**30)["routing_key"]
    assert key == "1." * 28 + "mails"


def test_a_worker_warns_of_the_tasks_that_it_does_not_fix(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        report_quorum_queues(SimpleNamespace(app=app_of()))
        assert caplog.messages == []
        report_quorum_queues(SimpleNamespace(app=app_of(**QUORUM)))
    (message,) = caplog.messages
    assert message.startswith("mails: with quorum queues and a direct exchange")
    assert 'task_default_exchange_type = "topic"' in message


def test_kombu_still_delays_by_these_names_and_bits() -> None:
    """`broker/quorum_queues.py` puts messages in at its first exchange and takes them out at its last."""
    from celery.utils.quorum_queues import detect_quorum_queues
    from kombu.transport import native_delayed_delivery as native

    assert native.MAX_NUMBER_OF_BITS_TO_USE == 28
    assert native.CELERY_DELAYED_DELIVERY_EXCHANGE == "celery_delayed_delivery"
    assert native.level_name(27) == "celery_delayed_27"
    assert native.calculate_routing_key(6, "mails") == waiting_options(app_of(**QUORUM), ANON, 6)["routing_key"]
    assert list(inspect.signature(detect_quorum_queues).parameters) == ["app", "driver_type"]
    assert quorum_queue(app_of(**QUORUM)) == "mails"


def test_kombu_still_declares_topic_exchanges_for_it() -> None:
    assert Exchange("x", type="topic").durable
