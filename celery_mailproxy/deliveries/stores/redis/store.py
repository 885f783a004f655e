"""Deliveries in Redis: for workers and receivers on several machines. Needs Redis 6 or newer, alone, with sentinels
or as a cluster (see `redis.url` for the URLs).

    <prefix>{<message id>}    one string for each message: head, static and further segments, a line each
    <prefix>failed            a set: ids of messages that have reports with failed handlers
    <prefix>suspended         a sorted set: ids of messages with a suspended result, by the time of their registration
    <prefix>values            a hash: what operators have set
    <prefix>counts:<day>      a hash: the counters of a day, `<unix seconds of ten minutes>/<name>`
    <prefix>outbox…           tasks' messages, see `redis.outbox`

Messages expire by themselves; `failed` drops from the set what has gone. The braces are a hash tag:
whatever else is kept of one message shares its cluster slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from ...delivery import Delivery, Status, failed_entries
from ...recording import Dispatched, Recorded, adopt_orphan
from ...report import DeliveryReport, utcnow
from ...suspension import Step
from ..base import AS_USUAL, COUNTS_KEPT, Advanced, DeliveryStore, Recording, Retention, count_span
from ..codec import encode_delivery
from ..outbox import Outbox
from ..packing import pack_claim, pack_text, pack_time, unpack_text
from ..row_store import is_stalled, unique
from .outbox import RedisOutbox
from .records import advanced_of, decode_record, encode_record, fields_of, recorded_of, report_arguments
from .scripts import ADVANCE, MARK_DISPATCHED, RECORD, REGISTER
from .trips import Command, RedisTrips, ScriptCall
from .values import SWAP_VALUE, swap_arguments

__all__ = ["RedisStore"]

#: How many suspended results are looked at on one trip.
_STALLED_PAGE = 500

_DAY_SECONDS = 86400


class RedisStore(DeliveryStore):
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
        extra = [
            ("ZADD", self._suspended_key, each.suspension.since.timestamp(), pack_text(each.message_id))
            for each in deliveries
            if each.suspension is not None
        ]
        kept = self._trips.run_scripts(calls, extra=extra)
        return [
            delivery if value is None else decode_record(delivery.message_id, value)
            for delivery, value in zip(deliveries, kept, strict=True)
        ]

    def get(self, message_id: str) -> Delivery | None:
        return self.get_many([message_id])[0]

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        values = self._trips.run([("GET", self._key(message_id)) for message_id in message_ids])
        return [
            None if value is None else decode_record(message_id, value)
            for message_id, value in zip(message_ids, values, strict=True)
        ]

    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        now = self.clock()
        by_message: dict[str, list[DeliveryReport]] = {}
        for report in reports:
            by_message.setdefault(report.message_id, []).append(report)
        calls = [self._recording(about_it, claim, how, now=now) for about_it in by_message.values()]
        recorded = {
            message_id: iter(recorded_of(message_id, about_it, answer))
            for (message_id, about_it), answer in zip(by_message.items(), self._trips.run_scripts(calls), strict=True)
        }
        # The answers about one message come in the order of its reports.
        return [next(recorded[report.message_id]) for report in reports]

    def _recording(self, reports: Sequence[DeliveryReport], claim: str, how: Recording, *, now: datetime) -> ScriptCall:
        """The call that records reports of one message."""
        message_id = reports[0].message_id
        flags = (int(how.is_settled), int(how.only_new))
        arguments = [pack_time(now), pack_claim(claim, message_id), self._lease_us, *flags]
        arguments += self._ttls_ms(now, now=now)
        arguments += encode_delivery(adopt_orphan(reports[0], now=now)) if how.adopt else ("", "")
        for report in reports:
            arguments += report_arguments(report)
        return RECORD, self._key(message_id), arguments

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        now = pack_time(self.clock())
        by_message: dict[str, list[Any]] = {}
        for each in dispatched:
            names = [pack_text(name) for name in each.failed]
            arguments = by_message.setdefault(each.message_id, [now])
            arguments.extend([pack_text(each.key), int(each.is_resumed), len(names), *names])
        failing = unique(each.message_id for each in dispatched if each.failed)
        calls = [(MARK_DISPATCHED, self._key(message_id), arguments) for message_id, arguments in by_message.items()]
        extra = [("SADD", self._failed_key, *map(pack_text, failing))] if failing else []
        self._trips.run_scripts(calls, extra=extra)

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        extra = [("ZREM", self._suspended_key, pack_text(message_id))] if step is Step.FINISH else []
        (answer,) = self._trips.run_scripts([self._advancing(message_id, step, token)], extra=extra)
        moved = advanced_of(message_id, answer)
        if extra and moved.delivery is not None and not moved.is_allowed:
            self._trips.run([("ZADD", self._suspended_key, self.clock().timestamp(), pack_text(message_id))])
        return moved

    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        recording = self._recording([report], claim, Recording(is_settled=True), now=self.clock())
        advancing = self._advancing(report.message_id, Step.SUBMITTED, claim)
        # Two scripts on one trip. A crash between them is one before `advance`: the task is run again.
        _, answer = self._trips.run_scripts([recording, advancing])
        return advanced_of(report.message_id, answer)

    def _advancing(self, message_id: str, step: Step, token: str | None) -> ScriptCall:
        arguments = [step.value, pack_text(token or ""), pack_time(self.clock()), self._lease_us]
        return ADVANCE, self._key(message_id), arguments

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        found: list[Delivery] = []
        start = 0
        while len(found) < limit:
            page = self._trips.run(
                [("ZRANGEBYSCORE", self._suspended_key, "-inf", before.timestamp(), "LIMIT", start, _STALLED_PAGE)]
            )[0]
            kept = self.get_many([unpack_text(member.decode()) for member in page])
            found += (each for each in kept if each is not None and is_stalled(each, before=before))
            gone = [member for member, each in zip(page, kept, strict=True) if each is None]
            if gone:
                self._trips.run([("ZREM", self._suspended_key, *gone)])
            start += len(page) - len(gone)
            if len(page) < _STALLED_PAGE:
                break
        return found[:limit]

    def failed(self, *, limit: int = 100) -> list[str]:
        failing: list[str] = []
        cursor: Any = 0
        while len(failing) < limit:
            cursor, members = self._trips.scan(self._failed_key, cursor)
            failing += self._check_failed([unpack_text(member.decode()) for member in members])
            if int(cursor) == 0:
                break
        return unique(failing)[:limit]

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """0: Redis forgets by itself."""
        return 0

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
        span = count_span(at)
        key = self._counts_key(span)
        commands: list[Command] = [("HINCRBY", key, f"{span}/{name}", number) for name, number in numbers.items()]
        self._trips.run([*commands, ("EXPIRE", key, int(COUNTS_KEPT.total_seconds()) + _DAY_SECONDS)])

    def counts(self, *, since: datetime) -> dict[str, int]:
        first = count_span(since)
        last = max(first, count_span(self.clock()))
        days = range(first // _DAY_SECONDS, last // _DAY_SECONDS + 1)
        total: Counter[str] = Counter()
        for answer in self._trips.run([("HGETALL", self._counts_key(day * _DAY_SECONDS)) for day in days]):
            for field, number in fields_of(answer):
                span, _, name = field.decode().partition("/")
                if int(span) >= first:
                    total[name] += int(number)
        return dict(total)

    def check(self) -> str:
        # Both a write and a script: a server can answer and yet allow neither.
        self._trips.run([("SET", f"{self._prefix}check", "1", "PX", 1000)])
        self._trips.run_scripts([(MARK_DISPATCHED, self._key(""), [])])
        return f"Redis, {self._trips.shown_url}"

    def close(self) -> None:
        self._trips.close()

    @property
    def _lease_us(self) -> int:
        return int(self.retention.lease_seconds * 1_000_000)

    @property
    def _failed_key(self) -> str:
        return f"{self._prefix}failed"

    @property
    def _suspended_key(self) -> str:
        return f"{self._prefix}suspended"

    @property
    def _values_key(self) -> str:
        return f"{self._prefix}values"

    def _counts_key(self, span: int) -> str:
        return f"{self._prefix}counts:{span // _DAY_SECONDS}"

    def _key(self, message_id: str) -> str:
        return f"{self._prefix}{{{pack_text(message_id)}}}"

    def _ttls_ms(self, updated_at: datetime, *, now: datetime) -> list[int]:
        """Milliseconds from now on to keep a delivery of that change: if it is ended, and if it is pending."""
        kept = (self.retention.expires_at(_probe(status, updated_at)) - now for status in (Status.SENT, Status.NEW))
        # Redis refuses 0: what has expired already goes at once.
        return [max(1, left // timedelta(milliseconds=1)) for left in kept]

    def _check_failed(self, message_ids: Sequence[str]) -> list[str]:
        """Those that really have a failed handler; the others leave the set."""
        failing = self._failing_among(message_ids)
        if gone := [each for each in message_ids if each not in failing]:
            self._trips.run([("SREM", self._failed_key, *map(pack_text, gone))])
            # A handler may have failed between the look and the removal: look again, and put it back.
            if again := self._failing_among(gone):
                self._trips.run([("SADD", self._failed_key, *map(pack_text, again))])
                failing += again
        return failing

    def _failing_among(self, message_ids: Sequence[str]) -> list[str]:
        found = self.get_many(message_ids)
        return [each.message_id for each in found if each is not None and any(failed_entries(each))]


def _probe(status: Status, updated_at: datetime) -> Delivery:
    return Delivery(message_id="", status=status, created_at=updated_at, updated_at=updated_at)
