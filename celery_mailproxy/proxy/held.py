"""`HeldMessage`: what the proxy itself says of a message that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .api import SubmitAnswer

__all__ = ["HeldMessage", "HeldState", "answer_of"]


class HeldState(str, Enum):
    """Where a message stands at the proxy."""

    PENDING = "pending"  #: to be sent, now or later
    SENT = "sent"  #: an SMTP server took it
    ERROR = "error"  #: given up, or refused

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMessage:
    """A message at the proxy. `reason` is why it was given up, and may quote an address.

    `not_before` is when a pending one is tried next, in unix seconds; None where it is due.
    """

    message_id: str
    state: HeldState
    account_id: str | None = None
    reason: str | None = None
    not_before: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> HeldMessage:
        """What a row of the proxy's list says, in every dialect.

        The order matters: 0.6, 0.7.0 and v1 set the time of the last attempt (`sent_ts` or `smtp_ts`) on an error, too.
        """
        state, reason = HeldState.PENDING, None
        if row.get("error_ts") is not None or row.get("status") == "error":
            state = HeldState.ERROR
            reason = str(row.get("error") or "no reason given")
        elif row.get("sent_ts") is not None or row.get("smtp_ts") is not None:
            state = HeldState.SENT
        account_id, later = row.get("account_id"), row.get("deferred_ts")
        return cls(
            message_id=str(row.get("id")),
            state=state,
            account_id=None if account_id is None else str(account_id),
            reason=reason,
            not_before=float(later) if state is HeldState.PENDING and isinstance(later, int | float) else None,
        )


def answer_of(messages: Iterable[HeldMessage]) -> SubmitAnswer:
    """What a submission of messages comes to that the proxy has already: no success where it has given one up."""
    accepted: list[str] = []
    rejected: dict[str, str] = {}
    for held in messages:
        if held.state is HeldState.ERROR:
            rejected[held.message_id] = f"ended as error at the proxy before: {held.reason}"
        else:
            accepted.append(held.message_id)
    return SubmitAnswer(accepted=tuple(accepted), rejected=rejected)
