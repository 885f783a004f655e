"""What a test's process would have handed to the broker: `published`, without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery.signals import before_task_publish

from tests.django.harness.default_app import default_app

__all__ = ["BACKEND", "DEAD_BROKER", "Published", "published"]

BACKEND = "celery_mailproxy.django.backends.EmailBackend"
DEAD_BROKER = {
    "broker_url": "redis://127.0.0.1:1/0",
    "broker_transport_options": {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
    "task_publish_retry": False,
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """One task, as it was handed over; `options` are the headers and properties."""

    name: str
    task_id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    properties: dict[str, Any]
    routing_key: str


@contextmanager
def published(**conf: Any) -> Iterator[list[Published]]:
    """What is published in the block, to a broker in memory; `conf` is the Celery application's configuration."""
    tasks: list[Published] = []

    def note(sender: str, body: Any, headers: Any, properties: Any, routing_key: str, **kwargs: Any) -> None:
        args, arguments, _ = body
        tasks.append(
            Published(
                name=sender,
                task_id=headers["id"],
                args=tuple(args),
                kwargs=dict(arguments),
                headers=dict(headers),
                properties=dict(properties),
                routing_key=routing_key,
            )
        )

    with default_app(**{"mail_proxy_store": "memory://", **conf}):
        before_task_publish.connect(note)
        try:
            yield tasks
        finally:
            before_task_publish.disconnect(note)
