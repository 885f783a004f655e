"""`ReportPublisher`: hands received reports to the broker, and returns only once the broker has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery

from ..conf import task_names
from ..deliveries.report import DeliveryReport
from ..errors import MessageTooLarge
from ..runtime import Producers, Runtime

__all__ = ["ReportPublisher", "publisher_of"]


class ReportPublisher:
    """Publishes reports as dispatch tasks of `chunk_size` each.

    Calling it returns when every chunk is with the broker, and raises kombu's `OperationalError` otherwise, or
    `MessageTooLarge` for a single report above the broker's limit; a chunk above it is halved. Some chunks may then
    have been published: the proxy sends all of them again, and the store tells them apart.
    """

    def __init__(self, *, app: Celery, producers: Producers, chunk_size: int) -> None:
        self._app = app
        self._producers = producers
        self._chunk_size = chunk_size

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        if self._app.conf.task_always_eager:
            # Celery's eager mode has no broker: the task runs right here.
            self._publish(reports, producer=None)
            return
        with self._producers.acquire() as producer:
            self._publish(reports, producer=producer)

    def _publish(self, reports: Sequence[DeliveryReport], *, producer: Any) -> None:
        for start in range(0, len(reports), self._chunk_size):
            self._publish_chunk(reports[start : start + self._chunk_size], producer=producer)

    def _publish_chunk(self, chunk: Sequence[DeliveryReport], *, producer: Any) -> None:
        task = self._app.signature(task_names.DISPATCH)
        try:
            with self._producers.confirmed({"producer": producer}) as confirmed:
                task.apply_async(
                    ([report.to_json() for report in chunk],),
                    **confirmed,
                    **self._producers.brief,
                    # A report's reason may quote an address, and Celery logs and sends the arguments' repr.
                    argsrepr=f"(<{len(chunk)} reports>,)",
                    add_to_parent=False,
                )
        except MessageTooLarge:
            if len(chunk) == 1:
                raise
            # However often the proxy repeated them, as one task they would never go.
            half = len(chunk) // 2
            self._publish_chunk(chunk[:half], producer=producer)
            self._publish_chunk(chunk[half:], producer=producer)


def publisher_of(runtime: Runtime) -> ReportPublisher:
    """The app's publisher in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> ReportPublisher:
    chunk_size = runtime.settings.dispatch_chunk_size
    return ReportPublisher(app=runtime.app, producers=runtime.producers, chunk_size=chunk_size)
