"""`Watchlist`: which deliveries in Redis somebody has to look at if nobody moves them on.

    <prefix>undispatched    `id \\n key` of each report that is to be dispatched, by the time of its first claim
    <prefix>submitting      ids of messages whose suspended result is new, by when that is too long
    <prefix>suspended       ids of those whose end was dispatched, and whose result is not stored yet

A result that waits for its mail is in none of them. There are two for results, so that who takes one out of the first,
when its message has been submitted, cannot take out what another adds at the same moment, when its end has been
dispatched. In between its end is in `undispatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ...delivery import Delivery, is_undispatched
from ...recording import Dispatched, Recorded, Verdict
from ...suspension import NEW_PATIENCE, Step, SuspensionState, silent_since
from ..packing import pack_text, unpack_text
from ..row_store import unique
from .index import TimeIndex
from .trips import Command, RedisTrips

__all__ = ["Read", "Watchlist"]

#: Message ids → the known deliveries, and what is wrong with the damaged ones.
Read = Callable[[Sequence[str]], tuple[Mapping[str, Delivery], Mapping[str, str]]]

_Seen = dict[str, tuple[datetime, Delivery | None]]

#: Verdicts after which nobody ever dispatches the report.
_OVER = frozenset({Verdict.DUPLICATE, Verdict.STALE})


class Watchlist:
    """The indexes, as commands that go on the trips of a store's own calls. `clock` gives the time of a change."""

    def __init__(self, trips: RedisTrips, *, prefix: str, read: Read, clock: Callable[[], datetime]) -> None:
        self._read = read
        self._clock = clock
        self._undispatched = TimeIndex(trips, f"{prefix}undispatched")
        self._submitting = TimeIndex(trips, f"{prefix}submitting")
        self._suspended = TimeIndex(trips, f"{prefix}suspended")

    # What goes before, and what behind a change: see `index`.

    def before_registering(self, deliveries: Iterable[Delivery]) -> list[Command]:
        since = [(each, at) for each in deliveries if (at := silent_since(each.suspension)) is not None]
        new = {pack_text(each.message_id): at for each, at in since if _state(each) is SuspensionState.NEW}
        others = {pack_text(each.message_id): at for each, at in since if _state(each) is not SuspensionState.NEW}
        return [*self._submitting.adding(new), *self._suspended.adding(others)]

    def after_registering(self, kept: Iterable[Delivery]) -> list[Command]:
        """None but where a registration has met its message's end."""
        return self._suspended.adding(_ended_early(kept))

    def before_recording(self, keys: Iterable[tuple[str, str]], *, hold_seconds: float) -> list[Command]:
        """`keys` are message ids and the keys of their reports, packed."""
        is_let_go = hold_seconds < 0
        at = self._clock() + timedelta(seconds=min(0.0, hold_seconds))
        claimed = {f"{pack_text(message_id)}\n{key}": at for message_id, key in keys}
        # What is there keeps its moment: a claim that is renewed is looked at too early, and never too late.
        return self._undispatched.adding(claimed, is_renewal=is_let_go)

    def after_recording(self, recorded: Sequence[Recorded]) -> list[Command]:
        """None but where a report was no news, or has overtaken the answer to its message's submission."""
        over = [_member(each.report.message_id, each.report.key) for each in recorded if each.verdict in _OVER]
        early = _ended_early(each.delivery for each in recorded if each.verdict is Verdict.NEW and each.delivery)
        return [*self._undispatched.removing(over), *self._suspended.adding(early)]

    def before_marking(self, dispatched: Iterable[Dispatched]) -> list[Command]:
        return self._suspended.adding(
            {pack_text(each.message_id): self._clock() for each in dispatched if each.is_resumed}
        )

    def after_marking(self, dispatched: Iterable[Dispatched]) -> list[Command]:
        return self._undispatched.removing(_member(each.message_id, each.key) for each in dispatched)

    def after_step(self, message_id: str, step: Step) -> list[Command]:
        member = pack_text(message_id)
        if step is Step.RENEW:
            return self._submitting.moving({member: self._clock() + NEW_PATIENCE})
        if step is Step.SUBMITTED:
            return self._submitting.removing([member])
        if step is Step.FINISH:
            return [*self._submitting.removing([member]), *self._suspended.removing([member])]
        return []

    def after_steps(self, step: Step, delivery: Delivery | None) -> list[Command]:
        """What puts a result back that is under way all the same: its end came early, or another's step has won."""
        is_out = step in (Step.SUBMITTED, Step.FINISH)
        return self.before_registering([delivery]) if is_out and delivery is not None else []

    # What is to be looked at.

    def undispatched(self, before: datetime, limit: int) -> list[Delivery]:
        return _first(self._undispatched.due(before, look=self._claims), limit)

    def stalled(self, before: datetime, limit: int) -> list[Delivery]:
        indexes = (self._suspended, self._submitting)
        return _first((each for index in indexes for each in index.due(before, look=self._silences)), limit)

    def _claims(self, members: Sequence[str]) -> _Seen:
        """Those reports that are to be dispatched, with the time of their claim."""
        found, damaged = self._read(unique(_message_id(member) for member in members))
        wanted = frozenset(members)
        seen = self._looked_at_later(member for member in members if _message_id(member) in damaged)
        for delivery in found.values():
            for entry in delivery.history:
                member = _member(delivery.message_id, entry.report.key)
                if member in wanted and is_undispatched(entry):
                    seen[member] = (entry.claimed_at or delivery.updated_at, delivery)
        return seen

    def _silences(self, members: Sequence[str]) -> _Seen:
        """Those suspended results that are under way, with since when they have been silent."""
        found, damaged = self._read([unpack_text(member) for member in members])
        seen = self._looked_at_later(map(pack_text, damaged))
        for message_id, delivery in found.items():
            if (since := silent_since(delivery.suspension)) is not None:
                seen[pack_text(message_id)] = (since, delivery)
        return seen

    def _looked_at_later(self, damaged: Iterable[str]) -> _Seen:
        """Members whose record cannot be read: they stay, for somebody may fix it."""
        now = self._clock()
        return dict.fromkeys(damaged, (now, None))


def _member(message_id: str, key: str) -> str:
    """A report in the index: the reports of one message come and go apart from each other."""
    return f"{pack_text(message_id)}\n{pack_text(key)}"


def _message_id(member: str) -> str:
    message_id: str = unpack_text(member.partition("\n")[0])
    return message_id


def _state(delivery: Delivery) -> SuspensionState | None:
    return delivery.suspension.state if delivery.suspension is not None else None


def _ended_early(deliveries: Iterable[Delivery]) -> dict[str, datetime]:
    """Those whose end came before their submission had finished."""
    ended = [each for each in deliveries if _state(each) is SuspensionState.EARLY]
    return {pack_text(each.message_id): each.suspension.since for each in ended if each.suspension is not None}


def _first(deliveries: Iterable[Delivery], limit: int) -> list[Delivery]:
    """Up to so many of them, each once."""
    found: dict[str, Delivery] = {}
    for delivery in deliveries:
        found[delivery.message_id] = delivery
        if len(found) == limit:
            break
    return list(found.values())
