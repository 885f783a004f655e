"""`Watchlist`: which deliveries in Redis somebody has to look at if nobody moves them on.

    <prefix>undispatched    `id \\n key` of each report that is to be dispatched, by the time of its first claim
    <prefix>submitting      ids of messages whose suspended result is new, by when that is too long
    <prefix>suspended       ids of those whose end was dispatched, and whose result is not stored yet
    <prefix>awaited         ids of messages that the proxy has and whose end it has not told, by when to ask for it

A result that waits for its mail is in none of them. There are two for results, so that who takes one out of the first,
when its message has been submitted, cannot take out what another adds at the same moment, when its end has been
dispatched. In between its end is in `undispatched`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from ...delivery import Delivery, Status, is_undispatched
from ...recording import Dispatched, Recorded, Verdict
from ...report import Kind
from ...suspension import NEW_PATIENCE, Step, SuspensionState, silent_since
from ..packing import pack_text, unpack_text
from ..retention import Retention
from ..row_store import unique
from .index import TimeIndex
from .trips import Command, RedisTrips

__all__ = ["Read", "Watchlist"]

#: Message ids → the known deliveries, and what is wrong with the damaged ones.
Read = Callable[[Sequence[str]], tuple[Mapping[str, Delivery], Mapping[str, str]]]

_Seen = dict[str, tuple[datetime, Delivery | None]]

#: Verdicts after which nobody ever dispatches the report.
_OVER = frozenset({Verdict.DUPLICATE, Verdict.STALE})

#: What reports say after which the message's end is awaited from the proxy, and those that tell it.
_OPENING = frozenset({Kind.QUEUED.value, Kind.DEFERRED.value})
_ENDING = frozenset(status.value for status in Status if status.is_end)


class Watchlist:
    """The indexes, as commands that go on the trips of a store's own calls. `clock` gives the time of a change."""

    def __init__(
        self, trips: RedisTrips, *, prefix: str, read: Read, clock: Callable[[], datetime], retention: Retention
    ) -> None:
        self._read = read
        self._retention = retention
        self._clock = clock
        self._undispatched = TimeIndex(trips, f"{prefix}undispatched")
        self._submitting = TimeIndex(trips, f"{prefix}submitting")
        self._suspended = TimeIndex(trips, f"{prefix}suspended")
        self._awaited = TimeIndex(trips, f"{prefix}awaited")

    # What goes before, and what behind a change: see `index`.

    def before_registering(self, deliveries: Iterable[Delivery]) -> list[Command]:
        since = [(each, at) for each in deliveries if (at := silent_since(each.suspension)) is not None]
        new = {pack_text(each.message_id): at for each, at in since if _state(each) is SuspensionState.NEW}
        others = {pack_text(each.message_id): at for each, at in since if _state(each) is not SuspensionState.NEW}
        return [*self._submitting.adding(new), *self._suspended.adding(others)]

    def after_registering(self, kept: Sequence[Delivery]) -> list[Command]:
        """None but where a registration has met reports of its message."""
        return [*self._suspended.adding(_ended_early(kept)), *self.await_ends(kept, is_renewal=False)]

    def await_ends(self, deliveries: Iterable[Delivery], *, is_renewal: bool = True) -> list[Command]:
        """What lists those of which an end is awaited; without `is_renewal` what is listed keeps its moment."""
        due = ((each, self._retention.due_at(each)) for each in deliveries)
        moments = {pack_text(each.message_id): at for each, at in due if at is not None}
        return self._awaited.adding(moments, is_renewal=is_renewal)

    def before_awaiting(self, keys: Iterable[tuple[str, str]]) -> list[Command]:
        """`keys` are message ids and the keys of their reports, packed."""
        at = self._clock() + timedelta(seconds=self._retention.overdue_seconds)
        opened = {pack_text(message_id): at for message_id, key in keys if _kind_of(key) in _OPENING}
        # What is there keeps its moment: who must not put a message off might have sent the report.
        return self._awaited.adding(opened, is_renewal=False)

    def after_awaiting(self, recorded: Sequence[Recorded]) -> list[Command]:
        """None but where the moment is another than a first `queued` makes it, or where a report comes late."""
        news = [each.delivery for each in recorded if each.verdict is Verdict.NEW and _is_due_otherwise(each)]
        late = (each for each in recorded if each.report.kind.value in _OPENING and each.delivery is not None)
        ended = (each.report.message_id for each in late if each.delivery is not None and each.delivery.is_ended)
        return [
            *self.await_ends(each for each in news if each is not None),
            *self._awaited.removing(unique(map(pack_text, ended))),
        ]

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

    def after_marking(self, dispatched: Sequence[Dispatched]) -> list[Command]:
        ended = unique(pack_text(each.message_id) for each in dispatched if _kind_of(each.key) in _ENDING)
        done = self._undispatched.removing(_member(each.message_id, each.key) for each in dispatched)
        return [*done, *self._awaited.removing(ended)]

    def after_marks(self, dispatched: Iterable[Dispatched], still_open: Collection[str]) -> list[Command]:
        """What lists those again whose end was dispatched before they were registered, if it was no end of theirs."""
        ended = {each.message_id for each in dispatched if _kind_of(each.key) in _ENDING}
        found, _ = self._read(sorted(ended.intersection(still_open)))
        return self.await_ends(found.values())

    def putting_off(self, message_ids: Iterable[str], until: datetime) -> list[Command]:
        return self._awaited.moving({pack_text(each): until for each in message_ids})

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

    def due(self, now: datetime, limit: int) -> list[Delivery]:
        return _first(self._awaited.due(now, look=self._awaits), limit)

    def _awaits(self, members: Sequence[str]) -> _Seen:
        """Those messages whose end is awaited, with when it is time to ask for it."""
        found, damaged = self._read([unpack_text(member) for member in members])
        seen = self._looked_at_later(map(pack_text, damaged))
        for message_id, delivery in found.items():
            if (due_at := self._retention.due_at(delivery)) is not None:
                seen[pack_text(message_id)] = (due_at, delivery)
        return seen

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


def _kind_of(key: str) -> str:
    return key.partition(":")[0]


def _is_due_otherwise(recorded: Recorded) -> bool:
    delivery = recorded.delivery
    is_plain = recorded.report.kind is Kind.QUEUED and delivery is not None and delivery.expires_at is None
    return not is_plain


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
