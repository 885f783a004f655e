"""`Retention`: how long deliveries are kept, and how long others may be silent about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..delivery import Delivery
from ..recording import CLAIM_SECONDS
from ..waiting import awaited_since

__all__ = ["OVERDUE_SECONDS", "Retention"]

_PENDING_GRACE = timedelta(days=30)

#: How long the proxy may be silent about a message, by default.
OVERDUE_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long deliveries are kept, counted from their last change.

    `ttl_seconds` holds for ended deliveries and for those only reports are known of; pending ones are kept 30 days
    longer. `claim_seconds` is how long the claim of a run that dispatches a report holds without being renewed,
    `lease_seconds` how long whoever moves a suspended result on may be silent, before another may take it over, and
    `overdue_seconds` how long the proxy may be, before it is asked.
    """

    ttl_seconds: float = 30 * 86400.0
    claim_seconds: float = CLAIM_SECONDS
    lease_seconds: float = 600.0
    overdue_seconds: float = OVERDUE_SECONDS

    @property
    def pending_seconds(self) -> float:
        """How long a pending delivery is kept."""
        return self.ttl_seconds + _PENDING_GRACE.total_seconds()

    def expires_at(self, delivery: Delivery) -> datetime:
        """The moment from which the delivery may be forgotten."""
        kept = timedelta(seconds=self.ttl_seconds)
        if delivery.is_known and not delivery.is_ended:
            kept += _PENDING_GRACE
        return delivery.updated_at + kept

    def overdue_at(self, delivery: Delivery) -> datetime | None:
        """The moment from which the proxy has been silent for too long; None where nothing is awaited from it."""
        since = awaited_since(delivery)
        return None if since is None else since + timedelta(seconds=self.overdue_seconds)

    def due_at(self, delivery: Delivery) -> datetime | None:
        """The moment from which somebody has to look what became of it at the proxy; None where nothing is awaited.

        It is overdue then, or must not be sent any more.
        """
        overdue_at = self.overdue_at(delivery)
        if overdue_at is None or delivery.expires_at is None:
            return overdue_at
        return min(overdue_at, delivery.expires_at)
