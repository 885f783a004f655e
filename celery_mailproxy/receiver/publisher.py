"""`ReportPublisher`: hands received reports to the broker, and returns only once the broker has them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery
from kombu.pools import ProducerPool

from ..deliveries.report import DeliveryReport

__all__ = ["ReportPublisher"]

#: The name of the task that dispatches; it need not be imported where reports are received.
DISPATCH_TASK = "celery_mailproxy.dispatch_reports"

#: A broker that is down must cost a report POST seconds, not minutes: the proxy's other tenants wait behind it.
_BRIEF_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}

_POOL_LIMIT = 10

_CONFIRM_SECONDS = 10.0


class ReportPublisher:
    """Publishes reports as dispatch tasks of `chunk_size` each.

    Calling it returns when every chunk is with the broker, and raises kombu's `OperationalError` otherwise. Some
    chunks may then have been published: the proxy sends all of them again, and the store tells them apart.
    """

    def __init__(self, *, app: Celery, chunk_size: int) -> None:
        self._app = app
        self._chunk_size = chunk_size
        self._lock = threading.Lock()
        self._pool: Any = None

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        if self._app.conf.task_always_eager:
            # Celery's eager mode has no broker: the task runs right here.
            self._publish(reports, producer=None)
            return
        with self.producer() as producer:
            self._publish(reports, producer=producer)

    @contextmanager
    def producer(self) -> Iterator[Any]:
        """A producer of the pool, which gives up soon where the broker is down."""
        with self._producers().acquire(block=True, timeout=10) as producer:
            yield producer

    @property
    def needs_confirms(self) -> bool:
        """Whether the broker is an AMQP one, which confirms a message only to those who ask."""
        return self._is_amqp and not self._app.conf.task_always_eager

    @cached_property
    def _is_amqp(self) -> bool:
        return bool(self._app.connection_for_write().transport.driver_type == "amqp")

    def close(self) -> None:
        """Close the connections to the broker."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            pool.connections.force_close_all()

    def _publish(self, reports: Sequence[DeliveryReport], *, producer: Any) -> None:
        task = self._app.signature(DISPATCH_TASK)
        for start in range(0, len(reports), self._chunk_size):
            chunk = [report.to_json() for report in reports[start : start + self._chunk_size]]
            task.apply_async(
                (chunk,),
                producer=producer,
                retry=True,
                retry_policy=_BRIEF_RETRIES,
                **self._patience,
                # A report's reason may quote an address, and Celery logs and sends the arguments' repr.
                argsrepr=f"(<{len(chunk)} reports>,)",
                add_to_parent=False,
            )

    @property
    def _patience(self) -> dict[str, float]:
        """A RabbitMQ short of memory or disk does not confirm, nor refuse: the proxy is to hear so in time."""
        return {"timeout": _CONFIRM_SECONDS, "confirm_timeout": _CONFIRM_SECONDS} if self.needs_confirms else {}

    def _producers(self) -> Any:
        with self._lock:
            if self._pool is None:
                connection = self._app.connection_for_write(transport_options=self._transport_options())
                limit = self._app.conf.broker_pool_limit or _POOL_LIMIT
                self._pool = ProducerPool(connections=connection.Pool(limit), limit=limit)
            return self._pool

    def _transport_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {**_BRIEF_RETRIES, **(self._app.conf.broker_transport_options or {})}
        if self._is_amqp:
            # Without confirms AMQP's basic.publish returns before the broker has the message.
            options["confirm_publish"] = True
        if self._app.connection_for_write().transport.driver_type == "redis":
            options.setdefault("socket_timeout", 10)
            options.setdefault("socket_connect_timeout", 5)
        return options
