"""`Producers`: pooled producers for an app's broker, which confirms what they publish."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery
from kombu.pools import ProducerPool

__all__ = ["Producers"]

#: A broker that is down must cost a report POST seconds, not minutes: the proxy's other tenants wait behind it.
_BRIEF_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}

_POOL_LIMIT = 10

_CONFIRM_SECONDS = 10.0


class Producers:
    """Producers for an app's broker: pooled, confirmed by RabbitMQ, and quick to give up where the broker is down."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._pool: Any = None

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """A producer of the pool. Raises kombu's `OperationalError` soon where the broker is down."""
        with self._producers().acquire(block=True, timeout=10) as producer:
            yield producer

    @property
    def needs_confirms(self) -> bool:
        """Whether the broker is an AMQP one, which confirms a message only to those who ask."""
        return self._is_amqp and not self._app.conf.task_always_eager

    @property
    def brief(self) -> dict[str, Any]:
        """Options of `apply_async` that bound how long a publication may take."""
        options: dict[str, Any] = {"retry": True, "retry_policy": _BRIEF_RETRIES}
        if self.needs_confirms:
            # A RabbitMQ short of memory or disk neither confirms nor refuses.
            options |= {"timeout": _CONFIRM_SECONDS, "confirm_timeout": _CONFIRM_SECONDS}
        return options

    def close(self) -> None:
        """Close the connections to the broker."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            pool.connections.force_close_all()

    @cached_property
    def _is_amqp(self) -> bool:
        return bool(self._app.connection_for_write().transport.driver_type == "amqp")

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
