"""`FailingSet`: which messages in Redis have reports with failed handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...delivery import Delivery, failed_entries
from ..packing import pack_text, unpack_text
from ..row_store import unique
from .trips import Command, RedisTrips

__all__ = ["FailingSet"]


class FailingSet:
    """A set of message ids. One that is there without need does no harm: whoever looks finds out."""

    def __init__(
        self, trips: RedisTrips, key: str, *, read: Callable[[Sequence[str]], Sequence[Delivery | None]]
    ) -> None:
        self.key = key
        self._trips = trips
        self._read = read

    def adding(self, message_ids: Iterable[str]) -> list[Command]:
        """The command that adds these."""
        packed = [pack_text(each) for each in message_ids]
        return [("SADD", self.key, *packed)] if packed else []

    def first(self, limit: int) -> list[str]:
        """Up to so many of those that really have a failed handler."""
        failing: list[str] = []
        cursor: Any = 0
        while len(failing) < limit:
            cursor, members = self._trips.scan(self.key, cursor)
            failing += self._check([unpack_text(member.decode()) for member in members])
            if int(cursor) == 0:
                break
        return unique(failing)[:limit]

    def _check(self, message_ids: Sequence[str]) -> list[str]:
        """Those that really have one; the others leave the set."""
        failing = self._failing_among(message_ids)
        if gone := [each for each in message_ids if each not in failing]:
            self._trips.run([("SREM", self.key, *map(pack_text, gone))])
            # A handler may have failed between the look and the removal: look again, and put it back.
            again = self._failing_among(gone)
            self._trips.run(self.adding(again))
            failing += again
        return failing

    def _failing_among(self, message_ids: Sequence[str]) -> list[str]:
        found = self._read(message_ids)
        return [each.message_id for each in found if each is not None and any(failed_entries(each))]
