"""A Celery app that sends through a fake proxy, and a run of its tasks as a worker makes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.app.trace import build_tracer

import celery_mailproxy.tasks  # noqa: F401 - registers the shared tasks
from celery_mailproxy import Delivery, signals
from celery_mailproxy.deliveries.report import parse_reports
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import Step

__all__ = ["MAIL", "SendingApp", "sending_app"]

MAIL: dict[str, Any] = {"subject": "s", "body": "b", "to": ["ann@example.com"]}

SIGNALS = (signals.mail_queued, signals.mail_rejected, signals.mail_error)


class SendingApp:
    """`told` counts signals by (name, message id); `retried` are the messages of retries: (args, kwargs, headers)."""

    def __init__(self, app: Celery, proxy: FakeProxy) -> None:
        self.app = app
        self.proxy = proxy
        self.told: Counter[tuple[str, str]] = Counter()
        self.tracebacks: list[str] = []

    @property
    def runtime(self) -> Runtime:
        return get_runtime(self.app)

    def run(
        self,
        name: str,
        *args: Any,
        task_id: str = "t",
        retries: int = 0,
        headers: dict[str, Any] | None = None,
        group: str | None = None,
        **kwargs: Any,
    ) -> tuple[str, Any]:
        """Run the task; its state and result, `("IGNORED", None)` where it has none."""
        task = self.app.tasks[name]
        request: dict[str, Any] = {"id": task_id, "args": list(args), "kwargs": kwargs, "retries": retries}
        request |= {"is_eager": False, "called_directly": False, "group": group, "headers": headers, **(headers or {})}
        request["delivery_info"] = {"routing_key": self.app.conf.task_default_queue, "exchange": ""}
        states: list[tuple[str, Any]] = []
        backend = self.app.backend

        def note(state: str) -> Callable[..., None]:
            def noted(task_id: str, result: Any, *rest: Any, **options: Any) -> None:
                states.append((state, result))
                self.tracebacks += [str(each) for each in (*rest, *options.values()) if "Traceback" in str(each)]

            return noted

        backend.mark_as_done, backend.mark_as_failure = note("SUCCESS"), note("FAILURE")
        backend.mark_as_retry = note("RETRY")
        build_tracer(task.name, task, app=self.app)(task_id, list(args), kwargs, request=request)
        return states[-1] if states else ("IGNORED", None)

    def run_to_the_end(self, name: str, *args: Any, **options: Any) -> tuple[str, Any]:
        """Run it in the last of its tries."""
        return self.run(name, *args, retries=self.runtime.settings.max_retries, **options)

    def report(self, message_id: str, step: Step) -> None:
        """Dispatch what the proxy reports of a message."""
        body = json.dumps({"delivery_report": [self.proxy.entry(message_id, step)]}).encode()
        (report,) = parse_reports(body).reports
        dispatcher_of(self.runtime).dispatch([report])

    def published(self) -> list[Any]:
        """The messages in the queue, taken out: (headers, body)."""
        found: list[Any] = []
        with (
            self.app.connection_for_read() as connection,
            connection.SimpleQueue(self.app.conf.task_default_queue) as queue,
        ):
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    return found
                found.append((message.headers, message.decode()))
                message.ack()

    def delivery(self, message_id: str) -> Delivery | None:
        return self.runtime.store.get(message_id)

    def received(self) -> list[str]:
        return [message["id"] for message in self.proxy.received]

    def note(self, signal: Any, report: Any, **kwargs: Any) -> None:
        self.told[signal.name, report.message_id] += 1


@contextmanager
def sending_app(proxy: FakeProxy, **conf: Any) -> Iterator[SendingApp]:
    """The app, with these settings beside the proxy's."""
    app = Celery("sending", broker="memory://", backend="cache+memory://", set_as_current=False)
    settings = {"store": f"memory://{uuid4()}", "from_email": "shop@example.com", "events": False, "max_retries": 3}
    settings |= {"url": proxy.url, "token": proxy.token, "tenant": proxy.tenant_id, "account": proxy.account_id}
    settings |= {"timeout_seconds": 30.0, **conf}
    app.conf.update({f"mail_proxy_{name}": value for name, value in settings.items()})
    # The broker in memory is everybody's.
    app.conf.task_default_queue = str(uuid4())
    one = SendingApp(app, proxy)
    for signal in SIGNALS:
        signal.connect(one.note, sender=app, weak=False)
    try:
        yield one
    finally:
        for signal in SIGNALS:
            signal.disconnect(one.note, sender=app)
        forget_runtime(app)
        app.close()


def ids(number: int, task_id: str = "t") -> Sequence[str]:
    """The ids of the mails of a list."""
    return [f"{task_id}-{index}" for index in range(number)]
