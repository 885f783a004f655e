"""An application with a broker in memory, whose tasks a test takes from the queue and runs as a worker does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from celery import Celery
from celery.app.trace import build_tracer
from celery.signals import task_postrun
from kombu import Queue, serialization

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime

__all__ = ["MemoryWorker", "Message", "memory_worker"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """A task's message, as it lay in the queue."""

    headers: dict[str, Any]
    args: list[Any] = field(repr=False)
    kwargs: dict[str, Any] = field(repr=False)
    embed: dict[str, Any] = field(repr=False)
    properties: dict[str, Any] = field(repr=False)
    content_type: str = "application/json"

    @property
    def task_id(self) -> str:
        return str(self.headers["id"])

    @property
    def name(self) -> str:
        return str(self.headers["task"])


class MemoryWorker:
    """The application, its runtime, and what a worker of its would do."""

    def __init__(self, **conf: Any) -> None:
        self.app = Celery("memory", broker="memory://", backend="cache+memory://", set_as_current=False)
        self.app.conf.update(
            task_default_queue=f"mails-{uuid4()}",
            mail_proxy_url="http://127.0.0.1:9",
            mail_proxy_from_email="shop@example.com",
            mail_proxy_store=f"memory://{uuid4()}",
            mail_proxy_events=False,
        )
        self.app.conf.update(conf)

    @property
    def runtime(self) -> Runtime:
        return get_runtime(self.app)

    def task(self, name: str) -> Any:
        return self.app.tasks[name]

    def take(self, queue: str | None = None) -> list[Message]:
        """What has been published since, in its order."""
        found = []
        name = queue or self.app.conf.task_default_queue
        # Bound to its own name: `SimpleQueue` would declare an exchange beside it.
        with self.app.connection_for_read() as connection, connection.SimpleQueue(Queue(name)) as lying:
            while len(lying):
                message = lying.get(block=False)
                message.ack()
                found.append(_read(message))
        return found

    def run(self, message: Message) -> str:
        """Run a message as a process of the pool does; the state in which that ended."""
        task = self.app.tasks[message.name]
        request = {
            **message.headers,
            **{name: message.embed.get(name) for name in ("callbacks", "errbacks", "chain", "chord")},
            "delivery_info": {"exchange": "", "routing_key": self.app.conf.task_default_queue, "redelivered": False},
            "hostname": "w1@host",
            "correlation_id": message.task_id,
        }
        states: list[Any] = []

        def note(sender: Any, state: str, **kwargs: Any) -> None:
            states.append(state)

        task_postrun.connect(note, weak=False)
        try:
            trace = build_tracer(message.name, task, app=self.app)
            trace(message.task_id, message.args, message.kwargs, request)
        finally:
            task_postrun.disconnect(note)
        return str(states[0])

    def run_all(self) -> list[str]:
        """Run what lies in the queue, and what comes of it; the states, in their order."""
        ended = []
        while messages := self.take():
            ended += [self.run(message) for message in messages]
        return ended


def _read(message: Any) -> Message:
    kind = message.content_type
    args, kwargs, embed = serialization.loads(message.body, kind, message.content_encoding, accept=[kind])
    properties = {name: value for name, value in message.properties.items() if name in ("priority", "reply_to")}
    return Message(
        headers=dict(message.headers),
        args=args,
        kwargs=kwargs,
        embed=embed,
        properties=properties,
        content_type=kind,
    )


@contextmanager
def memory_worker(**conf: Any) -> Iterator[MemoryWorker]:
    worker = MemoryWorker(**conf)
    try:
        yield worker
    finally:
        forget_runtime(worker.app)
        worker.app.close()
