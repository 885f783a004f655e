"""`HeldMessage`: what the proxy itself says of a message that it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from ..deliveries.report import MAX_REASON_LENGTH, DeliveryReport, Kind
from ..deliveries.times import read_moment
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

    `ended_at` is when it was sent or given up; `next_try_at` is before when it is not tried, as far as that is said.
    """

    message_id: str
    state: HeldState
    account_id: str | None = None
    reason: str | None = None
    ended_at: datetime | None = None
    next_try_at: datetime | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> HeldMessage:
        """What a row of the proxy's list says, in every dialect.

        The order matters: 0.6, 0.7.0 and v1 set the time of the last attempt (`sent_ts` or `smtp_ts`) on an error, too.
        """
        state, reason, times = HeldState.PENDING, None, [row.get("sent_ts"), row.get("smtp_ts")]
        if row.get("error_ts") is not None or row.get("status") == "error":
            state = HeldState.ERROR
            reason = str(row.get("error") or "no reason given")
            times.insert(0, row.get("error_ts"))
        elif any(each is not None for each in times):
            state = HeldState.SENT
        is_pending = state is HeldState.PENDING
        account_id = row.get("account_id")
        return cls(
            message_id=str(row.get("id")),
            state=state,
            account_id=None if account_id is None else str(account_id),
            reason=reason,
            ended_at=None if is_pending else read_moment(next((each for each in times if each is not None), None)),
            next_try_at=read_moment(row.get("deferred_ts")) if is_pending else None,
        )

    def report(self, *, now: datetime) -> DeliveryReport | None:
        """The end of the message as the proxy's own report says it; None while it is pending.

        Where the proxy does report it, the two are one and the same, or the later one is stale.
        """
        if self.state is HeldState.PENDING:
            return None
        at = self.ended_at or now
        if self.state is HeldState.SENT:
            entry: dict[str, Any] = {"id": self.message_id, "sent_ts": int(at.timestamp())}
            return DeliveryReport(kind=Kind.SENT, message_id=self.message_id, at=at, raw=entry)
        reason = (self.reason or "")[:MAX_REASON_LENGTH]
        entry = {"id": self.message_id, "error_ts": int(at.timestamp()), "error": reason}
        return DeliveryReport(kind=Kind.ERROR, message_id=self.message_id, at=at, reason=reason, raw=entry)


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
