"""`Runtime`: what a process needs for one Celery app, built on demand from its settings; a fork builds its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from celery import Celery, current_app
from celery.signals import worker_process_shutdown

from .conf.settings import DEFAULT_SERVER, Settings, load_settings
from .deliveries.delivery import Delivery
from .deliveries.report import DeliveryReport, utcnow
from .deliveries.stores import open_store
from .deliveries.stores.base import DeliveryStore, Retention
from .dispatch.counters import Tally
from .dispatch.dispatcher import Dispatcher
from .dispatch.events import EventSender
from .dispatch.resumer import Resumer
from .errors import MailProxyError
from .proxy.client import ProxyClient
from .receiver.publisher import ReportPublisher
from .receiver.receiver import ReportReceiver
from .submission import Submitter

__all__ = ["Runtime", "forget_runtime", "get_delivery", "get_runtime"]


class Runtime:
    """The parts of celery-mailproxy wired together for one app in one process. Every part is built at first use."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._clients: dict[str, ProxyClient] = {}

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self.app)

    @cached_property
    def retention(self) -> Retention:
        return Retention(ttl_seconds=self.settings.store_ttl_seconds)

    @cached_property
    def store(self) -> DeliveryStore:
        return open_store(self.settings.store, retention=self.retention)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(
            app=self.app,
            store=self.store,
            emit=self.emit,
            resumer=self.resumer,
            tally=self.tally if self.settings.migration is not None else None,
        )

    @cached_property
    def tally(self) -> Tally:
        return Tally(self.store)

    @cached_property
    def resumer(self) -> Resumer:
        return Resumer(app=self.app, store=self.store, emit=self.emit)

    @cached_property
    def submitter(self) -> Submitter:
        return Submitter(
            store=self.store,
            client_for=self.client,
            dispatcher=self.dispatcher,
            keep_summary=self.settings.store_summary,
        )

    @cached_property
    def publisher(self) -> ReportPublisher:
        return ReportPublisher(app=self.app, chunk_size=self.settings.dispatch_chunk_size)

    @cached_property
    def receiver(self) -> ReportReceiver:
        settings = self.settings
        return ReportReceiver(
            accept=self.publisher if settings.dispatch == "worker" else self._dispatch_inline,
            tokens=settings.sync_token,
            report_path=settings.report_path,
            attachments_path=settings.attachments_path,
            max_report_bytes=settings.max_report_bytes,
            next_sync_after=settings.next_sync_after,
        )

    def client(self, server: str = DEFAULT_SERVER) -> ProxyClient:
        """The client of the proxy of that name: one for the process, with its pool of connections."""
        with self._lock:
            if server not in self._clients:
                self._clients[server] = ProxyClient(self.settings.server(server))
            return self._clients[server]

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send a Celery event, where `mail_proxy_events` is on; the field `hostname` says in whose name.

        By default it is this process's. Never raises: a mail is not held up for onlookers.
        """
        if self.settings.events and not self.app.conf.task_always_eager:
            values = dict(fields)
            self._events.send(event, values, hostname=values.pop("hostname", None))

    def flush_events(self) -> None:
        """Send the events that wait to be sent."""
        if "_events" in self.__dict__:
            self._events.flush()

    def close(self) -> None:
        """Let go of every connection."""
        built = self.__dict__
        for client in self._clients.values():
            client.close()
        for name in ("_events", "store", "publisher"):
            if name in built:
                built[name].close()

    def _dispatch_inline(self, reports: Sequence[DeliveryReport]) -> None:
        """Dispatch in the receiving process. Raises where a report is too young to be given up as unknown."""
        # One claim for all: a report that was recorded and not told, by whomever, is told when it comes again.
        claim = "inline"
        unknown = self.dispatcher.dispatch(reports, claim=claim)
        if not unknown:
            return
        now = utcnow()
        youngest = min((now - report.at).total_seconds() for report in unknown)
        if youngest < self.settings.park_seconds:
            # The proxy keeps them and comes again; those told already are known as duplicates then.
            raise MailProxyError(f"{len(unknown)} reports are of messages not registered yet")
        self.dispatcher.dispatch(unknown, claim=claim, adopt=True)

    @cached_property
    def _events(self) -> EventSender:
        return EventSender(app=self.app, publisher=self.publisher)


#: Kept until `forget_runtime`, or the end of the process: apps are few, and what a runtime holds wants to be closed.
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


@worker_process_shutdown.connect(weak=False, dispatch_uid="celery_mailproxy.flush_events")
def _flush_events(**kwargs: Any) -> None:
    """A pool's process ends without waiting for its threads, among which are the senders of events."""
    for runtime in list(_runtimes.values()):
        if runtime._pid == os.getpid():
            runtime.flush_events()


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
