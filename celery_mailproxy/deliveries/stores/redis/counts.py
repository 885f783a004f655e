"""`RedisCounts`: the store's counters, a hash for each day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from ..base import COUNTS_KEPT, count_span
from .records import fields_of
from .trips import Command, RedisTrips

__all__ = ["RedisCounts"]

_DAY_SECONDS = 86400


class RedisCounts:
    """See `DeliveryStore.count`."""

    def __init__(self, trips: RedisTrips, *, key_prefix: str) -> None:
        self._trips = trips
        self._prefix = key_prefix

    def add(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        span = count_span(at)
        key = self._key(span)
        commands: list[Command] = [("HINCRBY", key, f"{span}/{name}", number) for name, number in numbers.items()]
        self._trips.run([*commands, ("EXPIRE", key, int(COUNTS_KEPT.total_seconds()) + _DAY_SECONDS)])

    def totals(self, *, first: datetime, last: datetime) -> dict[str, int]:
        """What has been counted from the one moment's ten minutes to the other's."""
        since = count_span(first)
        days = range(since // _DAY_SECONDS, max(since, count_span(last)) // _DAY_SECONDS + 1)
        total: Counter[str] = Counter()
        for answer in self._trips.run([("HGETALL", self._key(day * _DAY_SECONDS)) for day in days]):
            for field, number in fields_of(answer):
                span, _, name = field.decode().partition("/")
                if int(span) >= since:
                    total[name] += int(number)
        return dict(total)

    def _key(self, span: int) -> str:
        return f"{self._prefix}counts:{span // _DAY_SECONDS}"
