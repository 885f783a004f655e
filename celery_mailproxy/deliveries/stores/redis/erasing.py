"""`RedisEraser`: an address leaves the records in Redis, each as soon as nobody changes it meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha1
from itertools import islice
from typing import Any

from ....errors import DamagedRecord
from ...delivery import Delivery
from ...erasing import Fate, erase
from ...sought_address import SoughtAddress
from ..base import Erased, Kept
from ..erased_pages import PAGE
from ..packing import pack_text, unpack_text
from .records import decode_record, encode_record
from .scripts import Script
from .trips import RedisTrips

__all__ = ["RedisEraser"]

#: KEYS: record. ARGV: the SHA-1 of the value that it must have, the one to keep (empty: none). Answers 1 where it had.
_REPLACE = Script("""
local value = redis.call('GET', KEYS[1])
if not value or redis.sha1hex(value) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') end
return 1
""")

#: How often a record is looked at that others change meanwhile.
_TRIES = 5

_GLOB = re.compile(r"([\\*?\[\]^-])")


class RedisEraser:
    """Looks at every record: nothing in Redis says which address is where."""

    def __init__(self, trips: RedisTrips, *, prefix: str, is_dry_run: bool) -> None:
        self._trips = trips
        self._prefix = prefix
        self._failed_key = f"{prefix}failed"
        self._is_dry_run = is_dry_run

    def pages(self, sought: SoughtAddress) -> Iterator[Erased]:
        """See `DeliveryStore.erase`."""
        for keys in key_pages(self._trips, self._prefix):
            yield self._page(keys, sought)

    def _page(self, keys: Sequence[str], sought: SoughtAddress) -> Erased:
        changed: list[str] = []
        deleted: list[str] = []
        kept: list[Kept] = []
        left = keys
        for _ in range(_TRIES):
            fates = self._fates(left, sought, kept)
            left = self._replace({key: pair for key, pair in fates.items() if pair[0] in (Fate.ERASED, Fate.DELETED)})
            for key, (fate, delivery, _) in fates.items():
                if fate is Fate.OPEN:
                    kept.append(_kept(delivery))
                elif fate is not Fate.UNTOUCHED and key not in left:
                    (changed if fate is Fate.ERASED else deleted).append(delivery.message_id)
            if not left:
                break
        kept += (_kept(fates[key][1]) for key in left)
        if deleted and not self._is_dry_run:
            # The other indexes drop what has gone by themselves, at the next round of the maintenance.
            self._trips.run([("SREM", self._failed_key, *map(pack_text, deleted))])
        return Erased(looked_at=len(keys), changed=tuple(changed), deleted=tuple(deleted), kept=tuple(kept))

    def _fates(
        self, keys: Sequence[str], sought: SoughtAddress, kept: list[Kept]
    ) -> dict[str, tuple[Fate, Delivery, bytes]]:
        """What becomes of each record, the delivery as it is to be kept, and the value that says so."""
        fates: dict[str, tuple[Fate, Delivery, bytes]] = {}
        for key, value in zip(keys, self._trips.run([("GET", key) for key in keys]), strict=True):
            if value is None:
                continue
            message_id = message_id_of(key, self._prefix)
            try:
                fates[key] = (*erase(decode_record(message_id, value), sought), value)
            except DamagedRecord:
                kept.append(Kept(kind="damaged", id=message_id))
        return fates

    def _replace(self, fates: Mapping[str, tuple[Fate, Delivery, bytes]]) -> list[str]:
        """Write these; the keys of those whose records have changed meanwhile."""
        if self._is_dry_run:
            return []
        calls: list[Any] = []
        for key, (fate, delivery, value) in fates.items():
            after = "\n".join(encode_record(delivery)) if fate is Fate.ERASED else ""
            calls.append((_REPLACE, key, [sha1(value, usedforsecurity=False).hexdigest(), after]))
        answers = self._trips.run_scripts(calls)
        return [key for key, answer in zip(fates, answers, strict=True) if answer != 1]


def key_pages(trips: RedisTrips, prefix: str) -> Iterator[Sequence[str]]:
    """The keys of all records, `PAGE` at a time."""
    keys = trips.keys(_GLOB.sub(r"\\\1", f"{prefix}{{") + "*")
    while page := list(islice(keys, PAGE)):
        # A scan may give a key twice.
        yield list(dict.fromkeys(page))


def message_id_of(key: str, prefix: str) -> str:
    """The id of the message whose record the key is."""
    return str(unpack_text(key.removeprefix(f"{prefix}{{").removesuffix("}")))


def _kept(delivery: Delivery) -> Kept:
    return Kept(kind="delivery", id=delivery.message_id, status=delivery.status.value)
