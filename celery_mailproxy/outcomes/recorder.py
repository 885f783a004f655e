"""`OutcomeRecorder`: what was found out is recorded at once, and dispatched by workers like a report that came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from kombu.exceptions import OperationalError

from ..deliveries.recording import LET_GO_SECONDS, Verdict
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import DeliveryStore, Recording
from ..dispatch.postponing import postponer_of
from ..dispatch.run import Run
from ..errors import StoreError
from ..runtime import Runtime

__all__ = ["OutcomeRecorder", "recorder_of"]

#: How long the sweep leaves alone what has been handed to a task.
_HOLD_SECONDS = 300.0


class OutcomeRecorder:
    """Records reports and publishes tasks that dispatch them; `postpone` is `Postponer.postpone`.

    `chunk_size` is how many reports go into one task.
    """

    def __init__(self, *, store: DeliveryStore, postpone: Callable[..., Any], chunk_size: int) -> None:
        self._store = store
        self._postpone = postpone
        self._chunk_size = chunk_size

    def record(self, reports: Sequence[DeliveryReport]) -> list[DeliveryReport]:
        """Record the reports; those that are news, whose dispatch has been left to a task.

        Whoever dies in between leaves them to the sweep. Raises `StoreError` and kombu's `OperationalError`.
        """
        if not reports:
            return []
        run = Run()
        recorded = self._store.record(reports, claim=run.claim, how=Recording(hold_seconds=_HOLD_SECONDS))
        # What another one has recorded meanwhile it dispatches, too.
        news = [each.report for each in recorded if each.verdict is Verdict.NEW]
        for start in range(0, len(news), self._chunk_size):
            try:
                self._postpone(news[start : start + self._chunk_size], after=run.claim)
            except OperationalError:
                with suppress(StoreError):
                    # The sweep need not wait until the claim is stale.
                    how = Recording(hold_seconds=LET_GO_SECONDS)
                    self._store.record(news[start:], claim=run.claim, how=how)
                raise
        return news


def recorder_of(runtime: Runtime) -> OutcomeRecorder:
    """The app's recorder in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> OutcomeRecorder:
    return OutcomeRecorder(
        store=runtime.store,
        postpone=postponer_of(runtime).postpone,
        chunk_size=runtime.settings.dispatch_chunk_size,
    )
