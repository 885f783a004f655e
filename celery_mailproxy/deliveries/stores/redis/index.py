"""`TimeIndex`: which of the records in Redis are to be looked at, without reading the others.

A record and the index are on different slots of a cluster, so no script writes both. An entry that is too early, or has
no record any more, does no harm: whoever looks finds out, and puts it right. One that is missing would be a loss. So an
entry is added before what it is for is written, and removed after that is over for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ...delivery import Delivery
from .trips import Command, RedisTrips

__all__ = ["TimeIndex"]

#: How many entries are looked at on one trip.
_PAGE = 500

#: For each of these members that has reason to be there, from when on it is to be looked at, and the delivery that it
#: belongs to, if that can be read.
Look = Callable[[Sequence[str]], Mapping[str, tuple[datetime, Delivery | None]]]


class TimeIndex:
    """A sorted set of members by the moments from which they are to be looked at.

    A member is a text as `pack_text` makes it.
    """

    def __init__(self, trips: RedisTrips, key: str) -> None:
        self._trips = trips
        self._key = key

    def adding(self, members: Mapping[str, datetime], *, is_renewal: bool = True) -> list[Command]:
        """The commands that add these; without `is_renewal` what is there already keeps its moment."""
        return self._setting(members, () if is_renewal else ("NX",))

    def moving(self, members: Mapping[str, datetime]) -> list[Command]:
        """The commands that give those of them that are there another moment."""
        return self._setting(members, ("XX",))

    def _setting(self, members: Mapping[str, datetime], flags: tuple[str, ...]) -> list[Command]:
        # Many have the same moment, mostly.
        scores = {at: at.timestamp() for at in set(members.values())}
        pairs = [part for member, at in members.items() for part in (scores[at], member)]
        return [("ZADD", self._key, *flags, *pairs)] if pairs else []

    def removing(self, members: Iterable[str]) -> list[Command]:
        """The commands that remove these."""
        gone = tuple(members)
        return [("ZREM", self._key, *gone)] if gone else []

    def due(self, before: datetime, *, look: Look) -> Iterator[Delivery]:
        """The deliveries of the members whose moment is before this one, the earliest first.

        `look` says what is true of the members; what is not so any more is put right on the way.
        """
        start = 0
        while True:
            command = ("ZRANGEBYSCORE", self._key, "-inf", f"({before.timestamp()!r}", "LIMIT", start, _PAGE)
            (page,) = self._trips.run([command])
            members = [member.decode() for member in page]
            seen = look(members)
            due = [seen[member][1] for member in members if member in seen and seen[member][0] < before]
            self._put_right(members, before, look, seen)
            yield from (delivery for delivery in due if delivery is not None)
            start += len(due)
            if len(page) < _PAGE:
                return

    def _put_right(
        self, members: Sequence[str], before: datetime, look: Look, seen: Mapping[str, tuple[datetime, Any]]
    ) -> None:
        gone = [member for member in members if member not in seen]
        later = {member: at for member, (at, _) in seen.items() if at >= before}
        self._trips.run([*self.removing(gone), *self.moving(later)])
        if gone:
            # One may have been written between the look and the removal: look again, and put it back.
            again = {member: at for member, (at, _) in look(gone).items()}
            self._trips.run(self.adding(again, is_renewal=False))
