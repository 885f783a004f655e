"""Quorum queues of RabbitMQ: there a task that waits (a countdown, a retry) holds a place of its worker's prefetch.

With another queue Celery raises the prefetch by one for each task that waits; quorum queues have no global QoS for
that. So a few retries stop a worker for as long as they wait. Celery's answer, from 5.5 on, is to let RabbitMQ wait
(native delayed delivery): through 28 queues `celery_delayed_N`, each of which holds a message for 2^N seconds or passes
it by, as its routing key says bit by bit. It leads back through the queue's exchange, which must not be a direct one,
and Celery's default exchange is.

What a queue has besides is a binding of our own to where the 28 end: so a retry of ours waits in RabbitMQ whatever the
exchange.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

try:
    from celery.utils.quorum_queues import detect_quorum_queues
except ImportError:  # pragma: no cover - Celery before 5.5, which cannot consume from quorum queues

    def detect_quorum_queues(app: Any, driver_type: str) -> tuple[bool, str]:
        return False, ""


__all__ = ["can_delay", "quorum_queue", "waiting_options", "waits_in_worker"]

#: By which a task with a countdown waits in RabbitMQ. An exchange keeps its type: this one needs a name of its own.
TOPIC_SETTINGS = 'task_default_exchange_type = "topic" and task_default_exchange = "a name of its own"'

_BITS = 28
_ENTRY = Exchange(f"celery_delayed_{_BITS - 1}", type="topic")
_EXIT = Exchange("celery_delayed_delivery", type="topic")

#: The seconds of a message that has been delayed, before its own routing key.
_SECONDS = re.compile(rf"(?:[01]\.){{{_BITS}}}")


def quorum_queue(app: Celery) -> str | None:
    """The name of a quorum queue of the app; None where it has none. One is enough to fix its workers' prefetch."""
    driver_type = app.connection_for_write().transport.driver_type
    is_there, name = detect_quorum_queues(app, driver_type)
    return name if is_there else None


def waits_in_worker(app: Celery, queue: str) -> bool:
    """Whether a task with a countdown in this queue holds a place of its worker's prefetch while it waits."""
    if quorum_queue(app) is None:
        return False
    try:
        return bool(app.amqp.queues[queue].exchange.type == "direct")
    except KeyError:
        # None of the app's, with task_create_missing_queues off.
        return False


def can_delay(connection: Any) -> bool:
    """Whether a worker has declared Celery's native delayed delivery there. Raises errors of the connection."""
    try:
        _ENTRY(connection.default_channel).declare(passive=True)
    except connection.channel_errors:
        return False
    return True


def waiting_options(app: Celery, delivery_info: Mapping[str, Any], countdown: float) -> dict[str, Any]:
    """Options of `apply_async` and `retry` by which a task comes again after so many seconds to the queue it came from.

    `delivery_info` is its request's. Where a countdown would hold a place of the prefetch RabbitMQ waits, and the
    countdown is 0; else it is what Celery makes of it.
    """
    queue = _queue_of(delivery_info)
    if queue is None or not waits_in_worker(app, queue):
        return {"countdown": countdown}
    seconds = min(math.ceil(countdown), 2**_BITS - 1)
    own = app.amqp.queues[queue]
    # Exactly so many words: the name of another queue may be the end of this one's.
    pattern = "*." * _BITS + queue
    back = Queue(
        queue, exchange=_EXIT, routing_key=pattern, durable=own.durable, auto_delete=own.auto_delete,
        queue_arguments=own.queue_arguments,
    )  # fmt: skip
    return {
        "countdown": 0,
        "exchange": _ENTRY,
        "routing_key": ".".join(f"{seconds:0{_BITS}b}") + "." + queue,
        "declare": [back],
    }


def _queue_of(delivery_info: Mapping[str, Any]) -> str | None:
    """The queue a message came from; None where its routing key does not say."""
    exchange, routing_key = delivery_info.get("exchange") or "", delivery_info.get("routing_key") or ""
    if not exchange:
        return routing_key or None
    delayed = _SECONDS.match(routing_key)
    return routing_key[delayed.end() :] if delayed else None
