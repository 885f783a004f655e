"""Withdrawing mails, and taking them back, in Redis."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime

from ....errors import DamagedRecord
from ...delivery import Delivery
from ...leaving import tombstone
from ..base import DeliveryStore, Retention
from ..codec import encode_delivery
from ..damage import note_damaged
from .records import decode_record
from .scripts import LEAVE, Damage
from .trips import RedisTrips

__all__ = ["RedisWithdrawals"]


class RedisWithdrawals(DeliveryStore):
    """The part of the store that does so."""

    retention: Retention
    clock: Callable[[], datetime]
    _trips: RedisTrips

    @abstractmethod
    def _key(self, message_id: str) -> str:
        """The key of a message's record."""

    def withdraw(self, message_ids: Sequence[str]) -> list[Delivery]:
        now = self.clock()
        milliseconds = max(1, int(self.retention.ttl_seconds * 1000))
        calls = [
            (LEAVE, self._key(each), ["", *encode_delivery(tombstone(each, now=now)), milliseconds])
            for each in message_ids
        ]
        answers = self._trips.run_scripts(calls)
        kept: list[Delivery] = []
        damaged: dict[str, str] = {}
        for message_id, answer in zip(message_ids, answers, strict=True):
            try:
                kept.append(decode_record(message_id, answer))
            except DamagedRecord as exc:
                damaged[message_id] = exc.problem
        if damaged:
            raise DamagedRecord(list(damaged), "; ".join(dict.fromkeys(damaged.values())))
        return kept

    def take_back(self, message_ids: Sequence[str], run: str) -> None:
        answers = self._trips.run_scripts([(LEAVE, self._key(each), [run, "", "", 0]) for each in message_ids])
        pairs = zip(message_ids, answers, strict=True)
        if damaged := {message_id: each.problem for message_id, each in pairs if isinstance(each, Damage)}:
            note_damaged(self, damaged)
