"""`Runtime`: what a process holds for one Celery app: settings, store, proxy clients, producers, and whatever is built
on them. A fork builds its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, cast

from celery import Celery, current_app

from .broker.producers import Producers
from .conf.settings import DEFAULT_SERVER, ServerSettings, Settings, load_settings
from .deliveries.delivery import Delivery
from .deliveries.stores import open_store
from .deliveries.stores.base import DeliveryStore, Retention
from .errors import ConfigurationError
from .proxy.client import ProxyClient

__all__ = [
    "Producers",
    "Runtime",
    "close_runtimes",
    "configured_runtime",
    "forget_runtime",
    "get_delivery",
    "get_runtime",
]

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
        settings = self.settings
        return Retention(ttl_seconds=settings.store_ttl_seconds, overdue_seconds=settings.overdue_seconds)

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


def configured_runtime(app: Celery) -> Runtime:
    """The runtime of a worker's app. Raises `ConfigurationError` where it has none of our settings.

    Every worker knows our tasks where the package is installed. In one that is another application's, a report would be
    looked for in an empty store, and dispatched to nobody.
    """
    runtime = get_runtime(app)
    if runtime.settings == Settings():
        raise ConfigurationError(
            f"this worker ({app.main or 'unnamed'}) has none of celery-mailproxy's settings. Give it those of the "
            f"other workers, or a queue without emails (-Q)."
        )
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
