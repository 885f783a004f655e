"""`RedisSuppression`: the suppression list in Redis.

    <prefix>suppressed    a hash: `<cause> <address>` → `<time> <message id>`, as `packing` writes them

One hash, so that all recipients of many mails are looked up on one trip, in a cluster, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from ...suppression import Cause, SuppressedAddress
from ..erased_pages import PAGE
from ..packing import pack_text, pack_time, unpack_text, unpack_time
from ..suppression import SuppressionList
from .trips import Command, RedisTrips

__all__ = ["RedisSuppression"]

#: How many fields one command names.
_PER_COMMAND = 1000


class RedisSuppression(SuppressionList):
    """The list in one hash, which does not expire."""

    def __init__(self, trips: RedisTrips, *, key_prefix: str) -> None:
        self._trips = trips
        self._key = f"{key_prefix}suppressed"

    def add(self, entries: Sequence[SuppressedAddress]) -> int:
        commands: list[Command] = [("HSETNX", self._key, *_packed(entry)) for entry in entries]
        return sum(int(each) for each in self._trips.run(commands))

    def find(self, addresses: Sequence[str]) -> list[SuppressedAddress]:
        batches = list(_batches(addresses))
        answers = self._trips.run([("HMGET", self._key, *fields) for fields in batches])
        found = [
            (field, value)
            for fields, values in zip(batches, answers, strict=True)
            for field, value in zip(fields, values, strict=True)
        ]
        return [_entry(field, value.decode()) for field, value in found if value is not None]

    def remove(self, addresses: Sequence[str]) -> int:
        return sum(int(each) for each in self._trips.run([("HDEL", self._key, *each) for each in _batches(addresses)]))

    def pages(self) -> Iterator[Sequence[SuppressedAddress]]:
        fields = self._trips.fields(self._key)
        # A scan may give a field twice.
        while page := dict(islice(fields, PAGE)):
            yield [_entry(field, value) for field, value in page.items()]


def _batches(addresses: Sequence[str]) -> Iterator[list[str]]:
    fields = [_field(cause, address) for address in dict.fromkeys(addresses) for cause in Cause]
    return (fields[start : start + _PER_COMMAND] for start in range(0, len(fields), _PER_COMMAND))


def _field(cause: Cause, address: str) -> str:
    return f"{cause.value} {pack_text(address)}"


def _packed(entry: SuppressedAddress) -> tuple[str, str]:
    return _field(entry.cause, entry.address), f"{pack_time(entry.at)} {pack_text(entry.message_id or '')}"


def _entry(field: str, value: str) -> SuppressedAddress:
    cause, _, address = field.partition(" ")
    at, _, message_id = value.partition(" ")
    return SuppressedAddress(
        address=unpack_text(address), cause=Cause(cause), at=unpack_time(at), message_id=unpack_text(message_id) or None
    )
