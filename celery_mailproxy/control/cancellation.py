"""`Cancellation`: what withdrawing a mail came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ..deliveries.delivery import Status

__all__ = ["CancelOutcome", "Cancellation"]


class CancelOutcome(str, Enum):
    """What `cancel` came to."""

    BEFORE_SUBMISSION = "cancelled before submission"  #: the proxy never had it, and never will
    AT_PROXY = "deleted at the proxy"  #: it waited there, and was never sent
    TOO_LATE = "too late"  #: it had ended: see `Cancellation.status`
    MAYBE_SENT = "may have been sent"  #: nobody can say; `Cancellation.reason` says why
    UNKNOWN = "unknown id"  #: no such mail is known. If a worker gets one of this id, it will not be sent

    def __str__(self) -> str:
        return self.value

    @property
    def is_cancelled(self) -> bool:
        """Whether the mail was not sent, and never will be."""
        return self in (CancelOutcome.BEFORE_SUBMISSION, CancelOutcome.AT_PROXY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """How the cancelling of one mail went. `status` is the mail's, where it is known; `reason` is for people."""

    message_id: str
    outcome: CancelOutcome
    status: Status | None = None
    reason: str | None = field(default=None, repr=False)

    @property
    def is_cancelled(self) -> bool:
        """Whether the mail was not sent, and never will be."""
        return self.outcome.is_cancelled
