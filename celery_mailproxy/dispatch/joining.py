"""One outcome of many messages: a mail that went to each of its recipients as a message of its own (`per_recipient`).

Such a mail has a parent delivery, which is no message and is never submitted, and a member delivery for each
recipient. The parent ends when the last member has: whoever dispatches a member's end checks whether it was the last.
Each records its own end before it checks, so of several who check at once at least one sees that all have ended; and
the report that it makes of them is the same whoever makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..deliveries.delivery import Delivery
from ..deliveries.recording import Recorded
from ..deliveries.report import DeliveryReport, Kind
from ..deliveries.stores.base import DeliveryStore
from ..errors import ID_IN_USE

__all__ = ["Joiner", "joined_outcome"]

#: How many members are looked at on one trip. Mostly the first trip finds one that has not ended.
_PAGE = 100

#: Why a member counts as lost that the store has no longer.
_FORGOTTEN = "forgotten: its delivery is no longer in the store"
_TAKEN = f"never sent: {ID_IN_USE}"


class Joiner:
    """Finds out whether the members of a parent have all ended, and what they came to."""

    def __init__(self, store: DeliveryStore) -> None:
        self._store = store

    def parents_of(self, recorded: Iterable[Recorded]) -> list[str]:
        """The parents of those messages whose end is dispatched, each once, in their order."""
        ended = (each.delivery for each in recorded if each.verdict.is_dispatched_here and each.delivery)
        return list(dict.fromkeys(each.parent_id for each in ended if each.parent_id and each.is_ended))

    def report_of(self, parent_id: str) -> DeliveryReport | None:
        """The report of a parent's end; None while a member is awaited, and where it has been dispatched already.

        `sent` where at least one member was sent, else `error`. It has the time of the last member's end. Raises
        `StoreError`.
        """
        parent = self._store.get(parent_id)
        if parent is None or not parent.members:
            return None
        if parent.outcome is not None:
            is_dispatched = any(entry.is_dispatched for entry in parent.history if entry.report is parent.outcome)
            return None if is_dispatched else parent.outcome
        members = self._ended_members(parent)
        return None if members is None else _report(parent, members)

    def joined(self, parent: Delivery) -> dict[str, Any]:
        """See `joined_outcome`. Raises `StoreError`."""
        return joined_outcome(parent, self._store.get_many(parent.member_ids))

    def _ended_members(self, parent: Delivery) -> list[Delivery | None] | None:
        """All of them, or None where one has not ended."""
        # From the end: the proxy takes them in their order, so the last is mostly the last to end.
        found: list[Delivery | None] = []
        stop = len(parent.members)
        while stop:
            start = max(0, stop - _PAGE)
            page = self._store.get_many(parent.member_ids[start:stop])
            if any(each is not None and _is_awaited(each, parent) for each in page):
                return None
            found = page + found
            stop = start
        return found


def joined_outcome(parent: Delivery, members: Sequence[Delivery | None]) -> dict[str, Any]:
    """What became of each recipient: `{"ids": {address: message id}, "sent": [address], "error": {address: reason}}`.

    `members` are the parent's, in their order; None for one that the store has no longer.
    """
    errors: dict[str, str] = {}
    sent: list[str] = []
    for address, member in zip(parent.members, members, strict=True):
        problem = _problem(member, parent)
        if problem is None:
            sent.append(address)
        else:
            errors[address] = problem
    return {"ids": parent.ids_by_member, "sent": sent, "error": errors}


def _is_awaited(member: Delivery, parent: Delivery) -> bool:
    return member.parent_id == parent.message_id and not member.is_ended


def _problem(member: Delivery | None, parent: Delivery) -> str | None:
    """Why a member was not sent; None where it was. As with a single mail, its first end counts."""
    if member is None:
        return _FORGOTTEN
    if member.parent_id != parent.message_id:
        return _TAKEN
    outcome = member.outcome
    if outcome is not None and outcome.kind is Kind.SENT:
        return None
    reason = outcome.reason if outcome else member.reason
    return reason or ("no reason given" if outcome else "not known to have ended")


def _report(parent: Delivery, members: Sequence[Delivery | None]) -> DeliveryReport:
    joined = joined_outcome(parent, members)
    sent: Sequence[str] = joined["sent"]
    errors: Mapping[str, str] = joined["error"]
    ends = [member.outcome.at for member in members if member and member.outcome and not _is_taken(member, parent)]
    reason = None
    if errors:
        first = next(iter(errors.values()))
        reason = f"{len(errors)} of {len(parent.members)} recipients did not get it, the first: {first}"
    return DeliveryReport(
        kind=Kind.SENT if sent else Kind.ERROR,
        message_id=parent.message_id,
        # Nobody's own time: two who make this report make the same.
        at=max(ends, default=parent.created_at),
        reason=reason,
    )


def _is_taken(member: Delivery, parent: Delivery) -> bool:
    return member.parent_id != parent.message_id
