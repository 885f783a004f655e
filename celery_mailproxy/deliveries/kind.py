"""`Kind`: what a report says of a message."""

from __future__ import annotations

from enum import Enum

__all__ = ["ONCE_A_MAIL", "Kind"]


class Kind(str, Enum):
    """What a report says."""

    QUEUED = "queued"  #: the proxy has the message (ours: the answer to the submission)
    REJECTED = "rejected"  #: the proxy refused the message (ours: the answer to the submission)
    SENT = "sent"  #: an SMTP server accepted it for at least one recipient
    ERROR = "error"  #: given up for good, by the proxy or by us when retries are used up
    DEFERRED = "deferred"  #: tried in vain for now; the proxy will try again
    BOUNCED = "bounced"  #: came back after it had been sent (see `bounces`; and the proxy's Enterprise edition)
    COMPLAINED = "complained"  #: a recipient called it spam (ours: see `bounces`)
    CANCELLED = "cancelled"  #: withdrawn by the application before it was sent (ours)
    EXPIRED = "expired"  #: not sent by the moment after which it should not be (ours)
    SUPPRESSED = "suppressed"  #: not sent, since its recipients are on the suppression list (ours)
    OVERDUE = "overdue"  #: the proxy has been silent about it for too long (ours); changes nothing
    PEC = "pec"  #: an event of Italian certified mail (the proxy's Enterprise edition)

    def __str__(self) -> str:
        return self.value


#: What happens to a mail once at most, and is found out by us.
ONCE_A_MAIL = frozenset({Kind.QUEUED, Kind.REJECTED, Kind.CANCELLED, Kind.EXPIRED, Kind.SUPPRESSED, Kind.OVERDUE})
