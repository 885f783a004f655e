"""Queued tasks that this worker cannot decode: pickle that it does not accept, or classes that it has not got.

Celery drops such a message. Here it goes to a queue of its own, as it came, and a dead letter says why. It may hold a
password, and what cannot be decoded cannot be freed of it: so the broker keeps it, where it was before, and the
database does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery, bootsteps
from celery.signals import celeryd_init
from django.db import DatabaseError, InterfaceError
from kombu import Queue
from kombu.exceptions import OperationalError

from ...runtime import get_runtime
from .models import DeadLetter

__all__ = ["keep_undecodable", "requeue", "waiting_queue"]

logger = logging.getLogger(__name__)

#: A header: where a message was taken from.
_ORIGIN = "mail_proxy_origin"


def waiting_queue(app: Celery) -> str:
    """The queue where they wait for `requeue`: another one for each project on a broker, as its default queue is."""
    return f"{app.conf.task_default_queue}.mail_proxy_undecodable"


def keep_undecodable(task_name: str) -> None:
    """Let workers of this process keep what they cannot decode of this task."""

    class KeepStep(bootsteps.Step):  # type: ignore[misc]
        """Puts itself before what Celery does with such messages."""

        def __init__(self, consumer: Any, **kwargs: Any) -> None:
            super().__init__(consumer, **kwargs)
            dropped, refused = consumer.on_decode_error, consumer.on_invalid_task

            def on_decode_error(message: Any, exc: Exception) -> Any:
                return _keep(consumer, message, exc) if _is_ours(message) else dropped(message, exc)

            def on_invalid_task(body: Any, message: Any, exc: Exception) -> Any:
                return _keep(consumer, message, exc) if _is_ours(message) else refused(body, message, exc)

            consumer.on_decode_error, consumer.on_invalid_task = on_decode_error, on_invalid_task

    def _is_ours(message: Any) -> bool:
        return (message.headers or {}).get("task") == task_name

    def add_step(instance: Any, **kwargs: Any) -> None:
        instance.app.steps["consumer"].add(KeepStep)

    celeryd_init.connect(add_step, weak=False, dispatch_uid="celery_mailproxy.keep_undecodable")


def requeue(app: Celery) -> int:
    """Put what waits back where it was taken from; how many. Raises kombu's `OperationalError`."""
    with app.connection_for_write() as connection, connection.channel() as channel:
        queue = Queue(waiting_queue(app), channel=channel)
        number = 0
        # Not until none is left: a worker may be putting back what it still cannot decode.
        for _ in range(queue.queue_declare().message_count):
            if (message := queue.get()) is None:
                break
            headers = dict(message.headers)
            origin = headers.pop(_ORIGIN)
            with _without_letter(_id(message)):
                _publish(app, message, headers, exchange=origin["exchange"], routing_key=origin["routing_key"])
            message.ack()
            number += 1
    return number


@contextmanager
def _without_letter(task_id: str) -> Iterator[None]:
    """Delete its letter, unless the block fails. Before: where a worker cannot decode it still, it writes a new one."""
    letters = list(DeadLetter.objects.filter(message_id=task_id, content=""))
    DeadLetter.objects.filter(message_id=task_id, content="").delete()
    try:
        yield
    except BaseException:
        DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)
        raise


def _keep(consumer: Any, message: Any, exc: Exception) -> None:
    queue, info = waiting_queue(consumer.app), message.delivery_info
    origin = {"exchange": info.get("exchange") or "", "routing_key": info.get("routing_key") or ""}
    # Neither the error's text nor its traceback: they may quote what could not be decoded.
    reason = (
        f"its task cannot be decoded here ({message.content_type}, {type(exc).__name__}). It waits in the queue "
        f"{queue}: let this worker accept it, then run manage.py mailproxy_requeue"
    )
    try:
        _publish(consumer.app, message, {**message.headers, _ORIGIN: origin}, routing_key=queue, declare=[Queue(queue)])
        DeadLetter.objects.get_or_create(message_id=_id(message), defaults={"task_id": _id(message), "reason": reason})
    except (OperationalError, DatabaseError, InterfaceError):
        # Not acknowledged: it comes again, to the next worker or when the broker misses the acknowledgement.
        logger.exception("task %s can neither be decoded nor kept; it stays on the broker", _id(message))
        return
    logger.error("task %s is kept as a dead letter: %s", _id(message), reason)
    message.ack_log_error(logger, consumer.connection_errors)


def _publish(app: Celery, message: Any, headers: dict[str, Any], *, exchange: str = "", **options: Any) -> None:
    # Kombu has decompressed the body.
    headers.pop("compression", None)
    producers = get_runtime(app).producers
    with producers.acquire() as producer:
        producer.publish(
            message.body,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            headers=headers,
            exchange=exchange,
            correlation_id=message.properties.get("correlation_id"),
            priority=message.properties.get("priority"),
            delivery_mode=2,
            **producers.brief,
            **options,
        )


def _id(message: Any) -> str:
    return str(message.headers.get("id"))[:255]
