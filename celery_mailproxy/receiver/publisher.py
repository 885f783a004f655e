"""`ReportPublisher`: hands received reports to the broker, and returns only once the broker has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import Celery

from ..conf import task_names
from ..conf.settings import Unset
from ..deliveries.report import DeliveryReport
from ..dispatch.keeping import ReportKeeper, report_keeper_of
from ..errors import MessageTooLarge
from ..runtime import Producers, Runtime

__all__ = ["ReportPublisher", "publisher_of"]


class ReportPublisher:
    """Publishes reports as dispatch tasks of `chunk_size` each.

    Calling it returns when every chunk is with the broker, and raises kombu's `OperationalError` otherwise, or
    `MessageTooLarge` for a single report above the broker's limit; a chunk above it is halved. Some chunks may then
    have been published: the proxy sends all of them again, and the store tells them apart.

    With a `keeper` reports are recorded first, which raises `StoreError`; those that are being dispatched already are
    not published again.
    """

    def __init__(
        self, *, app: Celery, producers: Producers, chunk_size: int, keeper: ReportKeeper | None = None
    ) -> None:
        self._app = app
        self._producers = producers
        self._chunk_size = chunk_size
        self._keeper = keeper

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        if self._app.conf.task_always_eager:
            # Celery's eager mode has no broker: the task runs right here.
            self._publish(reports, producer=None)
        elif self._keeper is None:
            self._publish_confirmed(reports)
        else:
            self._publish_kept(reports, self._keeper)

    def _publish_kept(self, reports: Sequence[DeliveryReport], keeper: ReportKeeper) -> None:
        kept = keeper.keep(reports)
        if not kept.reports:
            return
        try:
            self._publish_confirmed(kept.reports, after=kept.claim)
        except BaseException:
            keeper.let_go(kept)
            raise

    def _publish_confirmed(self, reports: Sequence[DeliveryReport], *, after: str | None = None) -> None:
        with self._producers.acquire() as producer:
            self._publish(reports, producer=producer, after=after)

    def _publish(self, reports: Sequence[DeliveryReport], *, producer: Any, after: str | None = None) -> None:
        for start in range(0, len(reports), self._chunk_size):
            self._publish_chunk(reports[start : start + self._chunk_size], producer=producer, after=after)

    def _publish_chunk(self, chunk: Sequence[DeliveryReport], *, producer: Any, after: str | None) -> None:
        task = self._app.signature(task_names.DISPATCH)
        arguments = {"after": after} if after else {}
        try:
            with self._producers.confirmed({"producer": producer}) as confirmed:
                task.apply_async(
                    ([report.to_json() for report in chunk],),
                    arguments,
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
            self._publish_chunk(chunk[:half], producer=producer, after=after)
            self._publish_chunk(chunk[half:], producer=producer, after=after)


def publisher_of(runtime: Runtime) -> ReportPublisher:
    """The app's publisher in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> ReportPublisher:
    settings = runtime.settings
    keeper = report_keeper_of(runtime, hold_seconds=settings.outbox_seconds) if _keeps_reports(runtime) else None
    return ReportPublisher(
        app=runtime.app, producers=runtime.producers, chunk_size=settings.dispatch_chunk_size, keeper=keeper
    )


def _keeps_reports(runtime: Runtime) -> bool:
    """Whether the outbox holds reports, too. An AMQP broker that has confirmed a message does not lose it."""
    outbox = runtime.settings.outbox
    is_on = runtime.store.has_outbox_by_default if isinstance(outbox, Unset) else outbox
    return is_on and not runtime.producers.needs_confirms
