"""How a report moves the status of a message on: one table, which every store applies.

    new → queued → deferred* → sent | error        and after sent: bounced
    new → rejected
    new | queued | deferred → cancelled | expired | suppressed

A late `deferred` never undoes an end; a bounce after sent is legal. A complaint says nothing of the way: it is news in
every status but `rejected`, and changes none. Neither does `overdue`, which is news of what the proxy has.
"""

from __future__ import annotations

from collections.abc import Mapping

from .delivery import Status
from .report import Kind

__all__ = ["ONCE", "TRANSITIONS"]


def _transitions() -> dict[Status, dict[Kind, Status]]:
    open_ends = {
        Kind.DEFERRED: Status.DEFERRED,
        Kind.SENT: Status.SENT,
        Kind.ERROR: Status.ERROR,
        Kind.BOUNCED: Status.BOUNCED,
        Kind.CANCELLED: Status.CANCELLED,
        Kind.EXPIRED: Status.EXPIRED,
        Kind.SUPPRESSED: Status.SUPPRESSED,
    }
    table = {
        Status.NEW: {
            **open_ends,
            Kind.QUEUED: Status.QUEUED,
            Kind.REJECTED: Status.REJECTED,
            Kind.PEC: Status.NEW,
        },
        # A report can overtake the answer to the submission: `queued` is then still news, but changes nothing.
        # In QUEUED itself it is news after `adopt_orphan` only; else its key is in the history.
        Status.QUEUED: {
            **open_ends,
            Kind.QUEUED: Status.QUEUED,
            Kind.OVERDUE: Status.QUEUED,
            Kind.PEC: Status.QUEUED,
        },
        Status.DEFERRED: {
            **open_ends,
            Kind.QUEUED: Status.DEFERRED,
            Kind.OVERDUE: Status.DEFERRED,
            Kind.PEC: Status.DEFERRED,
        },
        Status.SENT: {Kind.QUEUED: Status.SENT, Kind.BOUNCED: Status.BOUNCED, Kind.PEC: Status.SENT},
        Status.ERROR: {Kind.QUEUED: Status.ERROR, Kind.PEC: Status.ERROR},
        # A bounce that overtook its own `sent`; and a mail to many can bounce many times.
        Status.BOUNCED: {
            Kind.QUEUED: Status.BOUNCED,
            Kind.SENT: Status.BOUNCED,
            Kind.BOUNCED: Status.BOUNCED,
            Kind.PEC: Status.BOUNCED,
        },
        Status.REJECTED: {},
        Status.CANCELLED: {Kind.QUEUED: Status.CANCELLED},
        Status.EXPIRED: {Kind.QUEUED: Status.EXPIRED},
        Status.SUPPRESSED: {Kind.QUEUED: Status.SUPPRESSED},
    }
    for status, row in table.items():
        if row:
            row[Kind.COMPLAINED] = status
    return table


#: status → kind → next status. A kind that is missing is stale in that status.
TRANSITIONS: Mapping[Status, Mapping[Kind, Status]] = _transitions()

#: Kinds that are news only once for a message, whatever their time.
ONCE: frozenset[Kind] = frozenset({Kind.SENT})
