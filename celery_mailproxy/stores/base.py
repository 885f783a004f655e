"""The contract of a delivery store. `tests/contract/test_store_contract.py` holds every store to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..deliveries import Delivery, Dispatched, Recorded
from ..reports import DeliveryReport

__all__ = ["DeliveryStore", "Retention"]

_PENDING_GRACE = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long deliveries are kept, counted from their last change.

    `ttl_seconds` holds for ended deliveries and for those only reports are known of; pending ones are kept 30 days
    longer. `lease_seconds` is how long a dispatch may be silent before another may take a report over.
    """

    ttl_seconds: float = 30 * 86400.0
    lease_seconds: float = 600.0

    def expires_at(self, delivery: Delivery) -> datetime:
        """The moment from which the delivery may be forgotten."""
        kept = timedelta(seconds=self.ttl_seconds)
        if delivery.is_known and not delivery.is_ended:
            kept += _PENDING_GRACE
        return delivery.updated_at + kept


class DeliveryStore(ABC):
    """Where deliveries are kept. Safe to share between threads; a process that forks opens one of its own.

    Every method is atomic for each message. A store that cannot be reached raises `StoreError`.
    """

    @abstractmethod
    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Keep each delivery unless its message id is known, and answer what is kept, in the same order.

        See `deliveries.merge_registration`: the first registration wins; reports seen before it are kept.
        """

    @abstractmethod
    def get(self, message_id: str) -> Delivery | None:
        """The delivery, or None."""

    @abstractmethod
    def record(
        self,
        reports: Sequence[DeliveryReport],
        *,
        claim: str,
        adopt: bool = False,
        is_settled: bool = False,
        only_new: bool = False,
    ) -> list[Recorded]:
        """Apply the reports in the order given (see `deliveries.record_report`); one answer each, in that order.

        A report of an unknown message changes nothing and is answered `UNKNOWN`, or with `adopt` a delivery is made
        for it (`is_known=False`). With `is_settled` new reports count as dispatched at once: for callers who know
        that nobody listens. With `only_new` (never with `adopt`) they count only where nothing has been heard of the
        message yet. Callers leave repetitions within one call out. One round trip for all.
        """

    @abstractmethod
    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        """Note that these reports have been told. Unknown ones are passed over. One round trip for all."""

    @abstractmethod
    def failed(self, *, limit: int = 100) -> list[str]:
        """Ids of messages that have a report with a failed handler, in no particular order."""

    @abstractmethod
    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """Forget up to `limit` deliveries that have expired; the number forgotten. 0 where expiry is automatic."""

    @abstractmethod
    def check(self) -> str:
        """Reach the store and say in a few words what it is, without secrets. Raises `StoreError` if it fails."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. The store may be used again afterwards."""
