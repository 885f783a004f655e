"""`OutcomeRecorder`: what was found out is recorded at once, and dispatched by workers like a report that came in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from kombu.exceptions import OperationalError

from ..deliveries.report import DeliveryReport
from ..runtime import Runtime
from .keeping import HOLD_SECONDS, ReportKeeper, report_keeper_of
from .postponing import postponer_of

__all__ = ["OutcomeRecorder", "recorder_of"]


class OutcomeRecorder:
    """Records reports and publishes tasks that dispatch them; `postpone` is `Postponer.postpone`.

    `chunk_size` is how many reports go into one task.
    """

    def __init__(self, *, keeper: ReportKeeper, postpone: Callable[..., Any], chunk_size: int) -> None:
        self._keeper = keeper
        self._postpone = postpone
        self._chunk_size = chunk_size

    def record(self, reports: Sequence[DeliveryReport]) -> list[DeliveryReport]:
        """Record the reports; those that are news, whose dispatch has been left to a task.

        Whoever dies in between leaves them to the sweep. Raises `StoreError` and kombu's `OperationalError`.
        """
        if not reports:
            return []
        kept = self._keeper.keep(reports)
        for start in range(0, len(kept.reports), self._chunk_size):
            try:
                self._postpone(kept.reports[start : start + self._chunk_size], after=kept.claim)
            except OperationalError:
                # The sweep need not wait until the claim is stale.
                self._keeper.let_go(replace(kept, reports=kept.reports[start:]))
                raise
        return list(kept.reports)


def recorder_of(runtime: Runtime, *, hold_seconds: float = HOLD_SECONDS) -> OutcomeRecorder:
    """A recorder for the app's store and broker."""
    return OutcomeRecorder(
        keeper=report_keeper_of(runtime, hold_seconds=hold_seconds),
        postpone=postponer_of(runtime).postpone,
        chunk_size=runtime.settings.dispatch_chunk_size,
    )
