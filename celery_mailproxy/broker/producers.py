"""`Producers`: pooled producers for an app's broker, which confirms what they publish."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from celery import Celery
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.pools import ProducerPool

from ..errors import MessageTooLarge
from .confirming import ConfirmingProducer

__all__ = ["Producers"]

logger = logging.getLogger(__name__)

#: A broker that is down must cost a report POST seconds, not minutes: the proxy's other tenants wait behind it.
_BRIEF_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
_BRIEF_SECONDS = 10.0

_POOL_LIMIT = 10
_ACQUIRE_SECONDS = 10.0

#: What RabbitMQ says of a message above its `max_message_size`.
_TOO_LARGE = re.compile(r"message size (\d+) is larger than (?:configured )?max size (\d+)")


class Producers:
    """Producers for an app's broker: pooled, confirmed by RabbitMQ, and quick to give up where the broker is down."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._pool: Any = None

    @contextmanager
    def acquire(self) -> Iterator[Any]:
        """A producer of the pool, for what is published in this block.

        Raises kombu's `OperationalError` soon where the broker is down, and `MessageTooLarge` for a message above
        RabbitMQ's limit.
        """
        try:
            acquired = self._producers().acquire(block=True, timeout=_ACQUIRE_SECONDS)
        except LimitExceeded as exc:
            raise OperationalError("all connections to the broker are in use; raise broker_pool_limit") from exc
        with _naming_size(), acquired as producer:
            yield producer

    @contextmanager
    def confirmed(self, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """`options` of `apply_async` with a producer that confirms, for a publication in this block.

        A producer or a connection in them is kept where it leads to another broker. Raises as `acquire` does.
        """
        given = options.get("producer") or options.get("publisher")
        if (
            not self.needs_confirms
            or isinstance(given, ConfirmingProducer)
            or self._is_elsewhere(given, options.get("connection"))
        ):
            with _naming_size():
                yield dict(options)
            return
        # Celery's group, and beat, pass on the app's own producer, which confirms nothing.
        kept = {name: value for name, value in options.items() if name not in ("publisher", "connection")}
        with self.acquire() as producer:
            yield {**kept, "producer": producer}

    def confirm_all(self) -> None:
        """From now on the broker confirms whatever the app publishes in this process.

        For what Celery publishes by itself: the next task of a chain, links, retries of users' tasks, results of
        `rpc://`. It takes a producer from `app.amqp.producer_pool` for them, and has no option for another one.
        `confirm_publish` in `broker_transport_options` would hold for the worker's own connections, too, whose event
        loop would wait for each event without a bound.
        """
        if not self.needs_confirms:
            return
        amqp, pool = self._app.amqp, self._producers()
        if amqp._producer_pool is not pool:
            # Reading it registers what makes a fork begin anew.
            _ = self._app.pool
            amqp._producer_pool = pool

    @property
    def needs_confirms(self) -> bool:
        """Whether the broker is an AMQP one, which confirms a message only to those who ask."""
        return self._is_amqp and not self._app.conf.task_always_eager

    @property
    def brief(self) -> dict[str, Any]:
        """Options of `apply_async` that bound how long a publication may take."""
        options: dict[str, Any] = {"retry": True, "retry_policy": _BRIEF_RETRIES}
        if self.needs_confirms:
            options["timeout"] = _BRIEF_SECONDS
        return options

    def close(self) -> None:
        """Close the connections to the broker."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._app.amqp._producer_pool is pool:
            self._app.amqp._producer_pool = None
        pool.force_close_all()
        pool.connections.force_close_all()

    @cached_property
    def _is_amqp(self) -> bool:
        return bool(self._app.connection_for_write().transport.driver_type == "amqp")

    def _is_elsewhere(self, producer: Any, connection: Any) -> bool:
        connection = connection or (producer and producer.connection)
        if not connection:
            return False
        return _addresses(connection).isdisjoint(_addresses(self._app.connection_for_write()))

    def _producers(self) -> Any:
        with self._lock:
            if self._pool is None:
                connection = self._app.connection_for_write(transport_options=self._transport_options())
                # One more than the app's own: the sender of events keeps one.
                limit = (self._app.conf.broker_pool_limit or _POOL_LIMIT) + 1
                kind = {"Producer": ConfirmingProducer} if self._is_amqp else {}
                self._pool = ProducerPool(connections=connection.Pool(limit), limit=limit, **kind)
            return self._pool

    def _transport_options(self) -> dict[str, Any]:
        own: Mapping[str, Any] = self._app.conf.broker_transport_options or {}
        options: dict[str, Any] = {**_BRIEF_RETRIES, **own}
        if self._is_amqp:
            if not own.get("confirm_publish", True):
                logger.warning(
                    "broker_transport_options has confirm_publish=%r, which does not hold for what celery-mailproxy "
                    "publishes: without confirmation RabbitMQ may lose emails and reports. Remove it.",
                    own["confirm_publish"],
                )
            # Without confirms AMQP's basic.publish returns before the broker has the message.
            options["confirm_publish"] = True
        if self._app.connection_for_write().transport.driver_type == "redis":
            options.setdefault("socket_timeout", 10)
            options.setdefault("socket_connect_timeout", 5)
        return options


def _addresses(connection: Any) -> set[str]:
    """Where a connection leads, or may lead after a failover."""
    return {connection.as_uri(include_password=True), *connection.alt}


@contextmanager
def _naming_size() -> Iterator[None]:
    """Raise `MessageTooLarge` for what RabbitMQ refuses because of its size."""
    try:
        yield
    except Exception as exc:
        if found := _TOO_LARGE.search(str(exc)):
            size, limit = map(int, found.groups())
            raise MessageTooLarge(size, limit) from exc
        raise
