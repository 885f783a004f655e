"""Deliveries and reports for the tests of the stores: fixed ones, arbitrary ones, and a clock that tests set."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from celery_mailproxy.deliveries.delivery import Delivery, HistoryEntry, Status
from celery_mailproxy.deliveries.leaving import UNCLEAR
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention

RETENTION = Retention(ttl_seconds=1000, claim_seconds=60, lease_seconds=60, overdue_seconds=100)

MakeStore = Callable[..., DeliveryStore]


@dataclass(frozen=True)
class DamageStore:
    """A store, and what makes the record of a message unreadable; its answer fixes it again."""

    store: DeliveryStore
    damage: Callable[[str], Callable[[], None]]


EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
START = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=timezone.utc)


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def new_id() -> str:
    return str(uuid.uuid4())


def delivery(message_id: str, **fields: Any) -> Delivery:
    values: dict[str, Any] = {"created_at": START, "updated_at": START, "task_id": message_id, **fields}
    return Delivery(message_id=message_id, **values)


def report(message_id: str, kind: Kind = Kind.SENT, second: int = 0, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=START + timedelta(seconds=second), **fields)


def sent_entry(message_id: str) -> DeliveryReport:
    """A report as the entities API's wire brings it."""
    (parsed,) = parse_entry({"id": message_id, "sent_ts": int(START.timestamp())})
    return parsed


# Also lone surrogates, line breaks and NUL: JSON escapes bring them in.
texts = st.text(max_size=20) | st.sampled_from(
    ["", "=", "~", "=x", "~x", "\\", '\\"', "\\u0041", "\ud800", "a\nb", "\0"]
)
optional_texts = st.none() | texts
times = st.integers(-(10**15), 10**16).map(lambda number: EPOCH + timedelta(microseconds=number))
ids = st.text(min_size=1, max_size=255) | st.uuids().map(str)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=3)


def reports(message_id: str) -> st.SearchStrategy[DeliveryReport]:
    free = st.builds(
        DeliveryReport,
        kind=st.sampled_from(Kind),
        message_id=st.just(message_id),
        at=times,
        reason=optional_texts,
        code=optional_texts,
        bounce_type=optional_texts,
        pec_event=optional_texts,
        recipient=optional_texts,
        event_id=optional_texts,
        tenant_id=optional_texts,
        via=st.sampled_from(["proxy", "smtp"]),
        raw=json_objects,
    )
    return free | wire_entries(message_id).map(_parsed)


def _parsed(entry: dict[str, Any]) -> DeliveryReport:
    """The entry's report, also of an id that the receiver would not take: a store keeps any."""
    (report,) = parse_entry({**entry, "id": "m"})
    return replace(report, message_id=entry["id"], raw=entry)


def wire_entries(message_id: str) -> st.SearchStrategy[dict[str, Any]]:
    """Entries as the two APIs send them, and near misses."""
    seconds = st.integers(0, 4_000_000_000) | st.floats(0, 4_000_000_000) | st.sampled_from([1.0, 1])
    same: dict[str, Any] = {"id": st.just(message_id)}
    return st.one_of(
        st.fixed_dictionaries({**same, "sent_ts": seconds}),
        st.fixed_dictionaries({**same, "sent_ts": seconds, "error_ts": st.none(), "error": st.none()}),
        st.fixed_dictionaries({**same, "sent_ts": st.none(), "error_ts": seconds, "error": texts}),
        st.fixed_dictionaries({**same, "error_ts": seconds}, optional={"error": texts}),
        st.fixed_dictionaries({**same, "deferred_ts": seconds, "deferred_reason": texts | st.integers()}),
        st.fixed_dictionaries(
            {**same, "bounce_ts": seconds, "bounce_type": texts, "bounce_code": texts | st.integers()}
        ),
        st.fixed_dictionaries({**same, "pec_ts": seconds, "pec_event": texts, "pec_details": texts}),
    )


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    message_id = draw(ids)
    claims = st.none() | texts | st.just(message_id) | st.uuids().map(str)
    entries = st.builds(
        HistoryEntry,
        report=reports(message_id),
        claim=claims,
        claimed_at=st.none() | times,
        is_dispatched=st.booleans(),
        failed=st.lists(texts, max_size=2).map(tuple),
    )
    return Delivery(
        message_id=message_id,
        status=draw(st.sampled_from(Status)),
        created_at=draw(times),
        updated_at=draw(times),
        history=tuple(draw(st.lists(entries, max_size=4))),
        callbacks=draw(st.dictionaries(st.sampled_from(["sent", "error"]), st.lists(json_objects, max_size=2))),
        task_id=draw(optional_texts | st.just(message_id)),
        tenant_id=draw(optional_texts),
        account_id=draw(optional_texts),
        server=draw(texts),
        batch_code=draw(optional_texts),
        metadata=draw(json_objects),
        tags=tuple(draw(st.lists(texts, max_size=3))),
        expires_at=draw(st.none() | times),
        summary=draw(json_objects),
        is_known=draw(st.booleans()),
        run=draw(st.sampled_from(["", "0a1b2c3d", UNCLEAR])),
        is_withdrawn=draw(st.booleans()),
        members=tuple(draw(st.lists(texts, max_size=3))),
        parent_id=draw(optional_texts),
    )
