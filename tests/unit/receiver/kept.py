"""`Kept`: what a receiver of the tests hands its reports to."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from celery_mailproxy.deliveries.report import DeliveryReport

__all__ = ["Kept"]


class Kept(list[DeliveryReport]):
    """An `accept` that keeps all reports, the calls that they came with, and in which threads; or it raises `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.calls: list[Sequence[DeliveryReport]] = []
        self.threads: set[int] = set()

    def __call__(self, reports: Sequence[DeliveryReport]) -> None:
        if self.error is not None:
            raise self.error
        self.extend(reports)
        self.calls.append(reports)
        self.threads.add(threading.get_ident())
