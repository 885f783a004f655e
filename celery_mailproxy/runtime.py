"""`Runtime`: what a process holds for one Celery app: settings, store, proxy clients, producers, and whatever is built
on them. A fork builds its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar, cast

from celery import Celery, current_app
from kombu.pools import ProducerPool

from .conf.settings import DEFAULT_SERVER, ServerSettings, Settings, load_settings
from .deliveries.delivery import Delivery
from .deliveries.stores import open_store
from .deliveries.stores.base import DeliveryStore, Retention
from .proxy.client import ProxyClient

__all__ = ["Producers", "Runtime", "close_runtimes", "forget_runtime", "get_delivery", "get_runtime"]

#: A broker that is down must cost a report POST seconds, not minutes: the proxy's other tenants wait behind it.
_BRIEF_RETRIES = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}

_POOL_LIMIT = 10

_CONFIRM_SECONDS = 10.0

Part = TypeVar("Part")


class Runtime:
    """What belongs to one app in one process. Everything is built at first use, and closed by `close`."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._parts: dict[Callable[[Runtime], Any], Any] = {}
        self._servers: dict[str, ServerSettings] = {}
        self._clients: dict[str, ProxyClient] = {}

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.app)

    @cached_property
    def retention(self) -> Retention:
        return Retention(ttl_seconds=self.settings.store_ttl_seconds)

    @cached_property
    def store(self) -> DeliveryStore:
        return self.part(_open_store)

    @cached_property
    def producers(self) -> Producers:
        return self.part(_producers)

    def server(self, name: str = DEFAULT_SERVER) -> ServerSettings:
        """The settings of the proxy of that name. Raises `ConfigurationError`."""
        if name not in self._servers:
            self._servers[name] = self.settings.server(name)
        return self._servers[name]

    def client(self, server: str = DEFAULT_SERVER) -> ProxyClient:
        """The client of the proxy of that name: one for the process, with its pool of connections.

        Raises `ConfigurationError` where the settings make none; the next call looks again.
        """
        with self._lock:
            if server not in self._clients:
                self._clients[server] = ProxyClient(self.server(server))
            return self._clients[server]

    def part(self, build: Callable[[Runtime], Part]) -> Part:
        """What `build` makes of this runtime: made once, at first use, and closed with the runtime if it has `close`.

        So a part lives beside its class (`dispatcher_of` in `dispatch/dispatcher.py`), and the runtime knows none.
        """
        if build not in self._parts:
            with self._lock:
                if build not in self._parts:
                    self._parts[build] = build(self)
        return cast(Part, self._parts[build])

    def replace_part(self, build: Callable[[Runtime], Part], part: Part) -> None:
        """Use `part` where `build` would make one: for tests that look at what a part is asked to do."""
        with self._lock:
            self._parts[build] = part

    def close(self) -> None:
        """Close every connection, those of the newest part first: it may still use an older one."""
        for part in reversed(list(self._parts.values())):
            if (close := getattr(part, "close", None)) is not None:
                close()
        for client in self._clients.values():
            client.close()


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


def _open_store(runtime: Runtime) -> DeliveryStore:
    return open_store(runtime.settings.store, retention=runtime.retention)


def _producers(runtime: Runtime) -> Producers:
    return Producers(runtime.app)


#: Kept until `forget_runtime`, or the end of the process: apps are few, and what a runtime holds has to be closed.
_runtimes: dict[Celery, Runtime] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


# Another thread may hold the lock at the moment of a fork; its copy in the child would never be released.
os.register_at_fork(after_in_child=_renew_lock)


def get_runtime(app: Celery | None = None) -> Runtime:
    """The runtime of an app (by default the current one) in this process."""
    real_app = _real(app)
    with _lock:
        runtime = _runtimes.get(real_app)
        if runtime is None or runtime._pid != os.getpid():
            # What was inherited through a fork is left alone: its connections belong to the parent.
            runtime = _runtimes[real_app] = Runtime(real_app)
        return runtime


def forget_runtime(app: Celery | None = None) -> None:
    """Close the app's runtime, so that the next use reads the settings anew."""
    real_app = _real(app)
    with _lock:
        runtime = _runtimes.pop(real_app, None)
    if runtime is not None:
        runtime.close()


def close_runtimes() -> None:
    """Close the runtimes that this process has built: what waits in them to be sent is sent first."""
    for app, runtime in list(_runtimes.items()):
        if runtime._pid == os.getpid():
            forget_runtime(app)


def get_delivery(message_id: str, *, app: Celery | None = None) -> Delivery | None:
    """What is known of a message: status, history, times, reason. None where it was never registered, or has expired.

    Raises `StoreError` where the store cannot be reached.
    """
    delivery = get_runtime(app).store.get(message_id)
    return delivery if delivery is not None and delivery.is_known else None


def _real(app: Celery | None) -> Celery:
    app = current_app if app is None else app
    get_current = getattr(app, "_get_current_object", None)
    return get_current() if get_current is not None else app
