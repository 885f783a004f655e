"""A Celery app whose mail task is migrated, and a run of it as a worker makes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.app.trace import build_tracer
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging

from celery_mailproxy.dispatch import events, signals
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy

__all__ = ["Migrated", "migrated", "working"]

KINDS = (
    signals.mail_queued,
    signals.mail_rejected,
    signals.mail_sent,
    signals.mail_error,
    signals.mail_deferred,
)


class Migrated:
    """`sent` is what the body of the task has sent; `told` are the signals, as (name, message id, via)."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.sent: list[Any] = []
        self.told: list[tuple[str, str, str]] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        #: What the body does instead of sending.
        self.body: Callable[[Any, int], Any] | None = None

    @property
    def runtime(self) -> Runtime:
        return get_runtime(self.app)

    def ways(self) -> Counter[tuple[str, str]]:
        return Counter((name, via) for name, _, via in self.told)

    def run(self, task: Any, *args: Any, task_id: str = "task-1", retries: int = 0) -> tuple[str, Any]:
        """Run the task as a worker does; its state and result."""
        request = {"id": task_id, "args": list(args), "kwargs": {}, "retries": retries, "is_eager": False}
        request |= {"delivery_info": {"routing_key": "celery", "exchange": ""}, "called_directly": False}
        states: list[tuple[str, Any]] = []
        backend = task.backend

        def note(state: str) -> Callable[..., None]:
            return lambda task_id, result, *args, **kwargs: states.append((state, result))

        backend.mark_as_done, backend.mark_as_failure = note("SUCCESS"), note("FAILURE")
        backend.mark_as_retry = note("RETRY")
        build_tracer(task.name, task, app=self.app)(task_id, list(args), {}, request=request)
        return states[-1] if states else ("IGNORED", None)

    def note(self, signal: Any, report: Any, **kwargs: Any) -> None:
        self.told.append((signal.name, report.message_id, report.via))


@contextmanager
def migrated(proxy: FakeProxy | None = None, *, token: str | None = None, **migration: Any) -> Iterator[Migrated]:
    """The app, with these keys of `mail_proxy_migration`."""
    app = Celery("migrated", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(mail_proxy_store="memory://", mail_proxy_migration=migration)
    # The broker in memory is everybody's.
    app.conf.update(task_default_queue=str(uuid4()), broker_connection_retry_on_startup=True)
    app.conf.update(broker_transport_options={"polling_interval": 0.05})
    app.conf.update(mail_proxy_from_email="shop@example.com", mail_proxy_timeout_seconds=60)
    if proxy is not None:
        app.conf.update(mail_proxy_url=proxy.url, mail_proxy_token=token or proxy.token, mail_proxy_api=proxy.api)
        app.conf.update(mail_proxy_tenant=proxy.tenant_id, mail_proxy_account=proxy.account_id)
    one = Migrated(app)
    one.runtime.store.clear()  # type: ignore[attr-defined]
    for signal in KINDS:
        signal.connect(one.note, sender=app, weak=False)
    sender: events.EventSender = _Events(app=app, producers=one.runtime.producers, told=one.events)
    one.runtime.replace_part(events._build, sender)
    try:
        yield one
    finally:
        for signal in KINDS:
            signal.disconnect(one.note, sender=app)
        forget_runtime(app)
        app.close()


class _Events(events.EventSender):
    """Keeps the events in place of sending them."""

    def __init__(self, *, told: list[tuple[str, Mapping[str, Any]]], **options: Any) -> None:
        super().__init__(**options)
        self._told = told

    def send(self, event: str, fields: Mapping[str, Any], *, hostname: str | None = None) -> None:
        self._told.append((event, dict(fields)))


@contextmanager
def working(one: Migrated) -> Iterator[None]:
    """A worker that takes tasks, in a thread."""

    def leave_logging_alone(**kwargs: Any) -> None:
        """The other tests' loggers are of this process, too."""

    setup_logging.connect(leave_logging_alone)
    try:
        with start_worker(one.app, pool="solo", perform_ping_check=False):
            yield
    finally:
        setup_logging.disconnect(leave_logging_alone)
