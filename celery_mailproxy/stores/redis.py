"""Deliveries in Redis: for workers and receivers on several machines. Needs Redis 6 or newer, alone, with sentinels
or as a cluster (see `redis_url` for the URLs).

    <prefix>{<message id>}    one string for each message: head, static and further segments, a line each
    <prefix>failed            a set: ids of messages that have reports with failed handlers
    <prefix>suspended         a sorted set: ids of messages with a suspended result, by the time of their registration
    <prefix>values            a hash: what operators have set
    <prefix>counts:<day>      a hash: the counters of a day, `<unix seconds of ten minutes>/<name>`

Messages expire by themselves; `failed` drops from the set what has gone. The braces are a hash tag:
whatever else is kept of one message shares its cluster slot.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from redis import exceptions as redis_errors

from ..deliveries import Delivery, Dispatched, Recorded, Status, Verdict, adopt_orphan, failed_entries
from ..errors import StoreError
from ..reports import DeliveryReport, utcnow
from ..suspensions import Step
from .base import COUNTS_KEPT, Advanced, DeliveryStore, Retention, count_span
from .codec import (
    decode_delivery,
    encode_delivery,
    encode_suspension,
    pack_claim,
    pack_report,
    pack_text,
    pack_time,
    unpack_text,
)
from .redis_scripts import ADVANCE, MARK_DISPATCHED, RECORD, REGISTER, Script
from .redis_url import connect_redis
from .rows import is_stalled, unique
from .urls import hide_password, hide_secrets_of

__all__ = ["RedisStore"]

# A pipeline holds its commands and answers in memory on both sides; calls of ordinary size take one.
_CALLS_PER_TRIP = 1000

# Every script may run twice: the same claim goes on, a registration or a mark repeated changes nothing. So a lost
# connection (the server was restarted, a sentinel chose another) is worth another try at once, and one a bit later.
_PAUSES_SECONDS = (0.0, 0.2)

#: How many suspended results are looked at on one trip.
_STALLED_PAGE = 500

_DAY_SECONDS = 86400

_Call = tuple[Script, str, list[Any]]


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
        self._url = url
        self._prefix = key_prefix
        self._client: Any = None
        self._lock = threading.Lock()

    @classmethod
    def from_url(cls, url: str, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> RedisStore:
        """See `redis_url` for the URLs."""
        return cls(url, retention, clock=clock)

    def __repr__(self) -> str:
        return f"RedisStore({hide_password(self._url)!r})"

    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        now = self.clock()
        calls = [
            (REGISTER, each.message_id, [*_texts(each), *self._ttls_ms(each.updated_at, now=now)])
            for each in deliveries
        ]
        extra = [
            ("ZADD", self._suspended_key, each.suspension.since.timestamp(), pack_text(each.message_id))
            for each in deliveries
            if each.suspension is not None
        ]
        return [
            delivery if value is None else _decode(delivery.message_id, value)
            for delivery, value in zip(deliveries, self._run_scripts(calls, extra=extra), strict=True)
        ]

    def get(self, message_id: str) -> Delivery | None:
        return self.get_many([message_id])[0]

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        values = self._pipeline([("GET", self._key(message_id)) for message_id in message_ids])
        return [
            None if value is None else _decode(message_id, value)
            for message_id, value in zip(message_ids, values, strict=True)
        ]

    def record(
        self,
        reports: Sequence[DeliveryReport],
        *,
        claim: str,
        adopt: bool = False,
        is_settled: bool = False,
        only_new: bool = False,
    ) -> list[Recorded]:
        now = self.clock()
        by_message: dict[str, list[int]] = {}
        for index, report in enumerate(reports):
            by_message.setdefault(report.message_id, []).append(index)
        calls = []
        for indexes in by_message.values():
            about_it = [reports[index] for index in indexes]
            orphan = adopt_orphan(about_it[0], now=now) if adopt else None
            calls.append(self._recording(about_it, claim, orphan, is_settled=is_settled, only_new=only_new, now=now))
        answers = dict(zip(by_message, self._run_scripts(calls), strict=True))
        return _recorded(reports, by_message, answers)

    def _recording(
        self,
        reports: Sequence[DeliveryReport],
        claim: str,
        orphan: Delivery | None,
        *,
        is_settled: bool,
        only_new: bool,
        now: datetime,
    ) -> _Call:
        """The call that records reports of one message."""
        message_id = reports[0].message_id
        flags = (int(is_settled), int(only_new))
        arguments = [pack_time(now), pack_claim(claim, message_id), self._lease_us, *flags]
        arguments += self._ttls_ms(now, now=now)
        arguments += encode_delivery(orphan) if orphan else ("", "")
        for report in reports:
            arguments += _report_arguments(report)
        return RECORD, message_id, arguments

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        now = pack_time(self.clock())
        by_message: dict[str, list[Any]] = {}
        for each in dispatched:
            names = [pack_text(name) for name in each.failed]
            arguments = by_message.setdefault(each.message_id, [now])
            arguments.extend([pack_text(each.key), int(each.is_resumed), len(names), *names])
        failing = unique(each.message_id for each in dispatched if each.failed)
        calls = [(MARK_DISPATCHED, message_id, arguments) for message_id, arguments in by_message.items()]
        extra = [("SADD", self._failed_key, *map(pack_text, failing))] if failing else []
        self._run_scripts(calls, extra=extra)

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        extra = [("ZREM", self._suspended_key, pack_text(message_id))] if step is Step.FINISH else []
        (answer,) = self._run_scripts([self._advancing(message_id, step, token)], extra=extra)
        moved = _advanced(message_id, answer)
        if extra and moved.delivery is not None and not moved.is_allowed:
            self._pipeline([("ZADD", self._suspended_key, self.clock().timestamp(), pack_text(message_id))])
        return moved

    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        recording = self._recording([report], claim, None, is_settled=True, only_new=False, now=self.clock())
        advancing = self._advancing(report.message_id, Step.SUBMITTED, claim)
        # Two scripts on one trip. A crash between them is one before `advance`: the task is run again.
        _, answer = self._run_scripts([recording, advancing])
        return _advanced(report.message_id, answer)

    def _advancing(self, message_id: str, step: Step, token: str | None) -> _Call:
        return ADVANCE, message_id, [step.value, pack_text(token or ""), pack_time(self.clock()), self._lease_us]

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        found: list[Delivery] = []
        start = 0
        while len(found) < limit:
            page = self._pipeline(
                [("ZRANGEBYSCORE", self._suspended_key, "-inf", before.timestamp(), "LIMIT", start, _STALLED_PAGE)]
            )[0]
            kept = self.get_many([unpack_text(member.decode()) for member in page])
            found += (each for each in kept if each is not None and is_stalled(each, before=before))
            gone = [member for member, each in zip(page, kept, strict=True) if each is None]
            if gone:
                self._pipeline([("ZREM", self._suspended_key, *gone)])
            start += len(page) - len(gone)
            if len(page) < _STALLED_PAGE:
                break
        return found[:limit]

    def failed(self, *, limit: int = 100) -> list[str]:
        failing: list[str] = []
        cursor: Any = 0
        while len(failing) < limit:
            cursor, members = self._try(partial(_scan, key=self._failed_key, cursor=cursor))
            failing += self._check_failed([unpack_text(member.decode()) for member in members])
            if int(cursor) == 0:
                break
        return unique(failing)[:limit]

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """0: Redis forgets by itself."""
        return 0

    def get_value(self, name: str) -> str | None:
        (value,) = self._pipeline([("HGET", f"{self._prefix}values", name)])
        return None if value is None else str(value.decode())

    def set_value(self, name: str, value: str | None) -> None:
        key = f"{self._prefix}values"
        self._pipeline([("HDEL", key, name) if value is None else ("HSET", key, name, value)])

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        span = count_span(at)
        key = self._counts_key(span)
        commands: list[tuple[Any, ...]] = [
            ("HINCRBY", key, f"{span}/{name}", number) for name, number in numbers.items()
        ]
        self._pipeline([*commands, ("EXPIRE", key, int(COUNTS_KEPT.total_seconds()) + _DAY_SECONDS)])

    def counts(self, *, since: datetime) -> dict[str, int]:
        first = count_span(since)
        last = max(first, count_span(self.clock()))
        days = range(first // _DAY_SECONDS, last // _DAY_SECONDS + 1)
        total: Counter[str] = Counter()
        for answer in self._pipeline([("HGETALL", self._counts_key(day * _DAY_SECONDS)) for day in days]):
            for field, number in _pairs(answer):
                span, _, name = field.decode().partition("/")
                if int(span) >= first:
                    total[name] += int(number)
        return dict(total)

    def check(self) -> str:
        # Both a write and a script: a server can answer and yet allow neither.
        self._pipeline([("SET", f"{self._prefix}check", "1", "PX", 1000)])
        self._run_scripts([(MARK_DISPATCHED, "", [])])
        return f"Redis, {hide_password(self._url)}"

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()
            if (pool := getattr(client, "connection_pool", None)) is not None:
                pool.disconnect()

    @property
    def _lease_us(self) -> int:
        return int(self.retention.lease_seconds * 1_000_000)

    @property
    def _failed_key(self) -> str:
        return f"{self._prefix}failed"

    @property
    def _suspended_key(self) -> str:
        return f"{self._prefix}suspended"

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
            self._pipeline([("SREM", self._failed_key, *map(pack_text, gone))])
            # A handler may have failed between the look and the removal: look again, and put it back.
            if again := self._failing_among(gone):
                self._pipeline([("SADD", self._failed_key, *map(pack_text, again))])
                failing += again
        return failing

    def _failing_among(self, message_ids: Sequence[str]) -> list[str]:
        found = self.get_many(message_ids)
        return [each.message_id for each in found if each is not None and any(failed_entries(each))]

    def _run_scripts(self, calls: Sequence[_Call], *, extra: Sequence[tuple[Any, ...]] = ()) -> list[Any]:
        """Run each script and answer what each answers; the extra commands go behind them on the same trip."""
        commands: list[tuple[Any, ...]] = [
            ("EVALSHA", script.sha, 1, self._key(message_id), *arguments) for script, message_id, arguments in calls
        ]
        commands += extra
        answers = self._pipeline(commands)[: len(calls)]
        # A server that has not seen the script yet, or forgot it in a restart: EVAL makes it known for the next time.
        unseen = [i for i, each in enumerate(answers) if isinstance(each, redis_errors.NoScriptError)]
        again = self._pipeline([("EVAL", calls[i][0].text, *commands[i][2:]) for i in unseen])
        for index, answer in zip(unseen, again, strict=True):
            answers[index] = answer
        return answers

    def _pipeline(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        answers: list[Any] = []
        for start in range(0, len(commands), _CALLS_PER_TRIP):
            batch = commands[start : start + _CALLS_PER_TRIP]
            answers += self._try(partial(_execute, commands=batch))
        return answers

    def _try(self, run: Callable[[Any], Any]) -> Any:
        for pause_seconds in (*_PAUSES_SECONDS, None):
            try:
                return run(self._connected())
            except (redis_errors.RedisError, redis_errors.RedisClusterException) as exc:
                is_lost = isinstance(exc, redis_errors.ConnectionError) and not isinstance(
                    exc, redis_errors.AuthenticationError
                )
                if pause_seconds is None or not is_lost:
                    raise self._translated(exc) from (None if self._is_secret(exc) else exc)
                time.sleep(pause_seconds)
        raise AssertionError("unreachable")

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = connect_redis(self._url)
            return self._client

    def _translated(self, exc: Exception) -> StoreError:
        shown = hide_password(self._url)
        text = hide_secrets_of(self._url, str(exc))
        return StoreError(f"the delivery store {shown} cannot be used: {type(exc).__name__}: {text}")

    def _is_secret(self, exc: Exception) -> bool:
        # Where no master is found, some releases of redis-py quote the options of their connections.
        return hide_secrets_of(self._url, str(exc)) != str(exc)


def _scan(client: Any, *, key: str, cursor: Any) -> Any:
    return client.sscan(key, cursor, count=500)


def _execute(client: Any, *, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    # `execute_command`, since a cluster's pipeline has no methods for scripts; it does send them.
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        pipeline.execute_command(*command)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, redis_errors.NoScriptError):
            raise answer
    return answers


def _pairs(answer: Any) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a hash: some clients make a dict of them, and some leave the flat list."""
    if isinstance(answer, Mapping):
        yield from answer.items()
        return
    flat = iter(answer)
    yield from zip(flat, flat, strict=True)


def _report_arguments(report: DeliveryReport) -> Iterator[str]:
    yield pack_text(report.key)
    yield pack_text(report.tenant_id or "")
    yield pack_report(report)


def _recorded(
    reports: Sequence[DeliveryReport], by_message: dict[str, list[int]], answers: dict[str, Any]
) -> list[Recorded]:
    recorded: dict[int, Recorded] = {}
    for message_id, indexes in by_message.items():
        *verdicts, value = answers[message_id] or [*[b"unknown"] * len(indexes), None]
        delivery = None if value is None else _decode(message_id, value)
        for index, verdict in zip(indexes, verdicts, strict=True):
            recorded[index] = Recorded(report=reports[index], verdict=Verdict(verdict.decode()), delivery=delivery)
    return [recorded[index] for index in range(len(reports))]


def _advanced(message_id: str, answer: Any) -> Advanced:
    if answer is None:
        return Advanced(is_allowed=False, delivery=None)
    is_allowed, value = answer
    return Advanced(is_allowed=bool(is_allowed), delivery=_decode(message_id, value))


def _texts(delivery: Delivery) -> tuple[str, str]:
    """The head of a record, and all that follows it."""
    head, static = encode_delivery(delivery)
    suspension = encode_suspension(delivery.suspension, delivery.message_id)
    return head, static if suspension is None else f"{static}\n{suspension}"


def _decode(message_id: str, value: bytes) -> Delivery:
    head, _, rest = value.decode().partition("\n")
    static, _, suspension = rest.partition("\n")
    return decode_delivery(message_id, head, static, suspension or None)


def _probe(status: Status, updated_at: datetime) -> Delivery:
    return Delivery(message_id="", status=status, created_at=updated_at, updated_at=updated_at)
