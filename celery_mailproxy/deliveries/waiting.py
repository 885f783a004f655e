"""Of which messages an end is awaited from the proxy, and since when: pure functions, shared by the stores."""

from __future__ import annotations

from datetime import datetime

from .delivery import Delivery, Status
from .report import Kind

__all__ = ["awaited_since"]

_SUBMITTED = frozenset({Status.QUEUED, Status.DEFERRED})


def awaited_since(delivery: Delivery) -> datetime | None:
    """Since when the proxy should have told the end of a message; None where none is awaited from it.

    That is the last change, and of a deferred message the next try, where the proxy has said when that is. A parent is
    no message of the proxy's, and neither is what goes through a legacy transport.
    """
    if not delivery.is_known or delivery.members or delivery.status not in _SUBMITTED or _went_elsewhere(delivery):
        return None
    retry_at = _next_try(delivery) if delivery.status is Status.DEFERRED else None
    return delivery.updated_at if retry_at is None else max(delivery.updated_at, retry_at)


def _went_elsewhere(delivery: Delivery) -> bool:
    return any(e.report.kind is Kind.QUEUED and e.report.via != "proxy" for e in delivery.history)


def _next_try(delivery: Delivery) -> datetime | None:
    tries = (e.report for e in reversed(delivery.history) if e.report.kind is Kind.DEFERRED and not e.is_stale)
    latest = next(tries, None)
    return None if latest is None else latest.retry_at
