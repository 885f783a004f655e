"""`Counters`: how many mails met which outcome, by the path they went. Kept while `mail_proxy_migration` is set."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from ..deliveries.report import DeliveryReport, Kind, utcnow
from ..deliveries.stores.base import DeliveryStore
from ..errors import StoreError
from ..runtime import Runtime

__all__ = ["Counters", "counters_of"]

logger = logging.getLogger(__name__)


class Counters:
    """Counts in the store, for people who watch. Never raises where it counts: no mail is held up for it."""

    def __init__(self, store: DeliveryStore) -> None:
        self._store = store

    def reports(self, reports: Iterable[DeliveryReport]) -> None:
        """Count reports that are news, as `proxy/sent`, `legacy/error`, …; what is only queued is no outcome."""
        self._count(Counter(f"{each.via}/{each.kind}" for each in reports if each.kind is not Kind.QUEUED))

    def note(self, name: str) -> None:
        """Count something else that happened."""
        self._count(Counter({name: 1}))

    def since(self, moment: datetime) -> dict[str, int]:
        """What has been counted since. Raises `StoreError`."""
        return self._store.counts(since=moment)

    def _count(self, numbers: Counter[str]) -> None:
        if not numbers:
            return
        try:
            self._store.count(numbers, at=utcnow())
        except StoreError as exc:
            logger.warning("%d emails are not counted: %s", numbers.total(), exc)


def counters_of(runtime: Runtime) -> Counters:
    """The app's counters in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Counters:
    return Counters(runtime.store)
