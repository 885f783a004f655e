"""Deliveries in Redis: for workers and receivers on several machines. Needs Redis 6 or newer, alone, with sentinels
or as a cluster (see `redis.url` for the URLs).

    <prefix>{<message id>}    one string for each message: head, static and further segments, a line each
    <prefix>failed            a set: ids of messages that have reports with failed handlers
    <prefix>undispatched, <prefix>submitting, <prefix>suspended, <prefix>awaited
                              sorted sets: what is to be looked at, and from when on; see `watchlist`
    <prefix>values            a hash: what operators have set
    <prefix>counts:<day>      a hash: the counters of a day, `<unix seconds of ten minutes>/<name>`
    <prefix>outbox…           tasks' messages, see `redis.outbox`
    <prefix>suppressed        a hash: addresses that are to get no more mail, see `redis.suppression`

Messages expire by themselves; `failed` and the sorted sets drop what has gone. The braces are a hash tag: whatever
else is kept of one message shares its cluster slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from ....errors import DamagedRecord
from ...delivery import Delivery, Status
from ...recording import Dispatched, Recorded, Verdict, adopt_orphan
from ...report import DeliveryReport, utcnow
from ...sought_address import SoughtAddress
from ...suspension import Step
from ..base import AS_USUAL, Advanced, Erased, Recording, Retention
from ..codec import encode_delivery
from ..damage import note_damaged
from ..erased_pages import in_outbox
from ..outbox import Outbox
from ..packing import pack_claim, pack_text, pack_time
from ..row_store import unique
from .counts import RedisCounts
from .erasing import RedisEraser, key_pages, message_id_of
from .failing import FailingSet
from .outbox import RedisOutbox
from .records import advanced_of, decode_record, encode_record, keys_of, recorded_of, report_arguments
from .scripts import ADVANCE, MARK_DISPATCHED, RECORD, REGISTER, STILL_OPEN, TIME, Damage
from .suppression import RedisSuppression
from .trips import RedisTrips, ScriptCall
from .values import SWAP_VALUE, swap_arguments
from .watchlist import Watchlist
from .withdrawals import RedisWithdrawals

__all__ = ["RedisStore"]


class RedisStore(RedisWithdrawals):
    """A store in Redis. Each call takes one round trip, however many messages it is about (up to 1000)."""

    def __init__(
        self,
        url: str,
        retention: Retention,
        *,
        clock: Callable[[], datetime] = utcnow,
        key_prefix: str = "celery-mailproxy:",
    ) -> None:
        self.retention = retention
        self.clock = clock
        self._trips = RedisTrips(url)
        self._prefix = key_prefix
        self._failing = FailingSet(self._trips, f"{key_prefix}failed", read=self.get_many)
        self._values_key = f"{key_prefix}values"
        self._counts = RedisCounts(self._trips, key_prefix=key_prefix)
        self.suppression = RedisSuppression(self._trips, key_prefix=key_prefix)
        self._watchlist = Watchlist(self._trips, prefix=key_prefix, read=self._read, clock=clock, retention=retention)

    @classmethod
    def from_url(cls, url: str, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> RedisStore:
        """See `redis.url` for the URLs."""
        return cls(url, retention, clock=clock)

    def __repr__(self) -> str:
        return f"RedisStore({self._trips.shown_url!r})"

    @property
    def outbox(self) -> Outbox:
        return RedisOutbox(self._trips, self.retention, key_prefix=self._prefix)

    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        now = self.clock()
        calls = [
            (REGISTER, self._key(each.message_id), [*encode_record(each), *self._ttls_ms(each.updated_at, now=now)])
            for each in deliveries
        ]
        answers = self._trips.run_scripts(calls, before=self._watchlist.before_registering(deliveries))
        kept: list[Delivery] = []
        damaged: dict[str, str] = {}
        for delivery, value in zip(deliveries, answers, strict=True):
            try:
                kept.append(delivery if value is None else decode_record(delivery.message_id, value))
            except DamagedRecord as exc:
                damaged[delivery.message_id] = exc.problem
        if damaged:
            raise DamagedRecord(list(damaged), "; ".join(dict.fromkeys(damaged.values())))
        self._trips.run(self._watchlist.after_registering(kept))
        return kept

    def get(self, message_id: str) -> Delivery | None:
        (value,) = self._trips.run([("GET", self._key(message_id))])
        return None if value is None else decode_record(message_id, value)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        found, damaged = self._read(message_ids)
        if damaged:
            note_damaged(self, damaged)
        return [found.get(message_id) for message_id in message_ids]

    def _read(self, message_ids: Sequence[str]) -> tuple[dict[str, Delivery], dict[str, str]]:
        """The known ones, and what is wrong with the damaged ones."""
        found: dict[str, Delivery] = {}
        damaged: dict[str, str] = {}
        values = self._trips.run([("GET", self._key(message_id)) for message_id in message_ids])
        for message_id, value in zip(message_ids, values, strict=True):
            try:
                if value is not None:
                    found[message_id] = decode_record(message_id, value)
            except DamagedRecord as exc:
                damaged[message_id] = exc.problem
        return found, damaged

    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        by_message: dict[str, list[DeliveryReport]] = {}
        for report in reports:
            by_message.setdefault(report.message_id, []).append(report)
        calls = self._recordings(by_message, claim, how)
        keys = [(each, key) for each, call in zip(by_message, calls, strict=True) for key in keys_of(call[2])]
        before = self._watchlist.before_awaiting(keys)
        # What is settled at once is nothing to look at; a claim that is let go of may be on an earlier report.
        is_watched = not how.is_settled or how.hold_seconds < 0
        if is_watched:
            before += self._watchlist.before_recording(keys, hold_seconds=how.hold_seconds)
        answers = self._trips.run_scripts(calls, before=before)
        recorded: dict[str, Iterator[Recorded]] = {}
        damaged: dict[str, str] = {}
        for (message_id, about_it), answer in zip(by_message.items(), answers, strict=True):
            try:
                recorded[message_id] = iter(recorded_of(message_id, about_it, answer))
            except DamagedRecord as exc:
                damaged[message_id] = exc.problem
                recorded[message_id] = (Recorded(report=r, verdict=Verdict.DAMAGED, delivery=None) for r in about_it)
        # The answers about one message come in the order of its reports.
        in_order = [next(recorded[report.message_id]) for report in reports]
        after = self._watchlist.after_awaiting(in_order)
        if is_watched:
            after += self._watchlist.after_recording(in_order)
        self._trips.run(after)
        if damaged:
            note_damaged(self, damaged)
        return in_order

    def _recordings(
        self, by_message: Mapping[str, Sequence[DeliveryReport]], claim: str, how: Recording
    ) -> list[ScriptCall]:
        """The calls that record these reports, one for each message."""
        now = self.clock()
        packed_now = pack_time(now)
        # The same for all of them.
        shared: list[Any] = [
            pack_time(now + timedelta(seconds=how.hold_seconds)),
            _microseconds(self.retention.claim_seconds),
        ]
        shared += [int(how.is_settled), int(how.only_new), *self._ttls_ms(now, now=now)]
        calls: list[ScriptCall] = []
        for message_id, reports in by_message.items():
            claims = (pack_claim(claim, message_id), pack_claim(how.after, message_id) or "")
            orphan = encode_delivery(adopt_orphan(reports[0], now=now)) if how.adopt else ("", "")
            arguments = [packed_now, *claims, *shared, *orphan]
            for report in reports:
                arguments += report_arguments(report)
            calls.append((RECORD, self._key(message_id), arguments))
        return calls

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        now = pack_time(self.clock())
        by_message: dict[str, list[Any]] = {}
        for each in dispatched:
            names = [pack_text(name) for name in each.failed]
            arguments = by_message.setdefault(each.message_id, [now])
            arguments.extend([pack_text(each.key), int(each.is_resumed), len(names), *names])
        failing = unique(each.message_id for each in dispatched if each.failed)
        calls = [(MARK_DISPATCHED, self._key(message_id), arguments) for message_id, arguments in by_message.items()]
        after = self._watchlist.after_marking(dispatched)
        after += self._failing.adding(failing)
        answers = self._trips.run_scripts(calls, before=self._watchlist.before_marking(dispatched), after=after)
        marked = dict(zip(by_message, answers, strict=True))
        still_open = [message_id for message_id, answer in marked.items() if answer == STILL_OPEN]
        self._trips.run(self._watchlist.after_marks(dispatched, still_open))
        if damaged := {message_id: each.problem for message_id, each in marked.items() if isinstance(each, Damage)}:
            note_damaged(self, damaged)

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        after = self._watchlist.after_step(message_id, step)
        (answer,) = self._trips.run_scripts([self._advancing(message_id, step, token)], after=after)
        moved = advanced_of(message_id, answer)
        self._trips.run(self._watchlist.after_steps(step, moved.delivery))
        return moved

    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        (recording,) = self._recordings({report.message_id: [report]}, claim, Recording(is_settled=True))
        advancing = self._advancing(report.message_id, Step.SUBMITTED, claim)
        # Two scripts on one trip. A crash between them is one before `advance`: the task is run again.
        before = self._watchlist.before_awaiting([(report.message_id, report.key)])
        after = self._watchlist.after_step(report.message_id, Step.SUBMITTED)
        _, answer = self._trips.run_scripts([recording, advancing], before=before, after=after)
        moved = advanced_of(report.message_id, answer)
        later = self._watchlist.after_steps(Step.SUBMITTED, moved.delivery)
        if moved.delivery is not None and moved.delivery.expires_at is not None:
            later += self._watchlist.await_ends([moved.delivery])
        self._trips.run(later)
        return moved

    def _advancing(self, message_id: str, step: Step, token: str | None) -> ScriptCall:
        arguments = [step.value, pack_text(token or ""), pack_time(self.clock())]
        arguments.append(_microseconds(self.retention.lease_seconds))
        return ADVANCE, self._key(message_id), arguments

    def undispatched(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        return self._watchlist.undispatched(before, limit)

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        return self._watchlist.stalled(before, limit)

    def due(self, *, now: datetime, limit: int = 100) -> list[Delivery]:
        return self._watchlist.due(now, limit)

    def put_off(self, message_ids: Sequence[str], *, until: datetime) -> None:
        self._trips.run(self._watchlist.putting_off(message_ids, until))

    def failed(self, *, limit: int = 100) -> list[str]:
        return self._failing.first(limit)

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """0: Redis forgets by itself."""
        return 0

    def pages(self) -> Iterator[Sequence[Delivery]]:
        for keys in key_pages(self._trips, self._prefix):
            found = self.get_many([message_id_of(key, self._prefix) for key in keys])
            yield [each for each in found if each is not None]

    def erase(self, sought: SoughtAddress, *, is_dry_run: bool = False) -> Iterator[Erased]:
        eraser = RedisEraser(self._trips, prefix=self._prefix, is_dry_run=is_dry_run)
        yield from eraser.pages(sought)
        yield from in_outbox(self.outbox, sought)

    def get_value(self, name: str) -> str | None:
        (value,) = self._trips.run([("HGET", self._values_key, name)])
        return None if value is None else str(value.decode())

    def set_value(self, name: str, value: str | None) -> None:
        key = self._values_key
        self._trips.run([("HDEL", key, name) if value is None else ("HSET", key, name, value)])

    def swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        call = (SWAP_VALUE, self._values_key, swap_arguments(name, before, after))
        return bool(self._trips.run_scripts([call])[0])

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        self._counts.add(numbers, at=at)

    def counts(self, *, since: datetime) -> dict[str, int]:
        return self._counts.totals(first=since, last=self.clock())

    def check(self) -> str:
        # Both a write and a script: a server can answer and yet allow neither.
        self._trips.run([("SET", f"{self._prefix}check", "1", "PX", 1000)])
        self._trips.run_scripts([(MARK_DISPATCHED, self._key(""), [])])
        return f"Redis, {self._trips.shown_url}"

    def server_time(self) -> datetime | None:
        ((seconds, microseconds),) = self._trips.run_scripts([(TIME, self._values_key, [])])
        return datetime.fromtimestamp(int(seconds), timezone.utc).replace(microsecond=int(microseconds))

    def close(self) -> None:
        self._trips.close()

    def _key(self, message_id: str) -> str:
        return f"{self._prefix}{{{pack_text(message_id)}}}"

    def _ttls_ms(self, updated_at: datetime, *, now: datetime) -> list[int]:
        """Milliseconds from now on to keep a delivery of that change: if it is ended, and if it is pending."""
        kept = (self.retention.expires_at(_probe(status, updated_at)) - now for status in (Status.SENT, Status.NEW))
        # Redis refuses 0: what has expired already goes at once.
        return [max(1, left // timedelta(milliseconds=1)) for left in kept]


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _probe(status: Status, updated_at: datetime) -> Delivery:
    return Delivery(message_id="", status=status, created_at=updated_at, updated_at=updated_at)
