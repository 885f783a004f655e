"""`Delivery` ↔ an `EmailLog` with its `EmailLogEvent`s.

Columns are for people and queries first; what one of them cannot say exactly stands in the row's `details` besides, so
that a delivery comes back as it was given, on every database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...deliveries.delivery import Delivery, HistoryEntry, Status, failed_entries
from ...deliveries.leaving import leaving_of, with_leaving
from ...deliveries.report import DeliveryReport, Kind
from ...deliveries.stores.base import Retention
from ...deliveries.stores.codec import decode_suspension, encode_suspension
from ...deliveries.suspension import silent_since
from ...errors import DamagedRecord, redact
from .fields import aware
from .models import EmailLog, EmailLogEvent
from .row_texts import dump_ascii, exact, inexact, is_storable, shown, shown_id

__all__ = ["delivery_of", "entry_of", "envelope_columns", "event_columns", "log_columns", "message_id_of"]

_LOG_TEXTS = ("tenant_id", "account_id", "server", "batch_code", "task_id", "parent_id")
_EVENT_TEXTS = ("reason", "code", "bounce_type", "pec_event", "recipient", "event_id", "via", "tenant_id")

_MAX_COUNT = 2**31 - 1


def log_columns(
    delivery: Delivery, *, row: EmailLog | None, retention: Retention, alias: str, hides_addresses: bool
) -> dict[str, Any]:
    """The columns of a delivery's row; `row` is the one that is there already.

    Raises `StoreError` where callbacks or summary hold what JSON cannot express.
    """
    details: dict[str, Any] = {}
    envelope = _envelope(delivery, delivery.summary, details, alias)
    # A row that the web process began keeps its place in the list.
    created_at = delivery.created_at if row is None else aware(row.created_at)
    is_registered = delivery.is_known or delivery.created_at != created_at
    suspension = encode_suspension(delivery.suspension, delivery.message_id) or ""
    if not is_storable(suspension, alias):
        details["suspension"] = suspension
    if leaving := leaving_of(delivery):
        details["leaving"] = leaving
    reason = redact(delivery.reason or "") if hides_addresses else delivery.reason or ""
    columns: dict[str, Any] = {
        **envelope,
        "status": delivery.status.value,
        "is_known": delivery.is_known,
        "created_at": created_at,
        "registered_at": delivery.created_at if is_registered else None,
        "updated_at": delivery.updated_at,
        "queued_at": delivery.queued_at,
        "sent_at": delivery.sent_at,
        "ended_at": delivery.ended_at,
        "error_message": shown(reason, alias),
        "attempts": delivery.attempts,
        "members": dump_ascii(delivery.members),
        "callbacks": dump_ascii(delivery.callbacks),
        "suspension": shown(suspension, alias),
        "silent_since": silent_since(delivery.suspension),
        "due_at": retention.due_at(delivery),
        "expires_at": retention.expires_at(delivery),
        "has_failed": any(failed_entries(delivery)),
    }
    return {**columns, "details": dump_ascii(details)}


def envelope_columns(value: Any, summary: Mapping[str, Any], *, alias: str) -> dict[str, Any]:
    """The columns that say whose mail it is and what its envelope is, of whatever has a delivery's attributes."""
    details: dict[str, Any] = {}
    return {**_envelope(value, summary, details, alias), "details": dump_ascii(details)}


def event_columns(entry: HistoryEntry, *, position: int, alias: str, hides_addresses: bool) -> dict[str, Any]:
    """The columns of one entry of a history, but for whose it is."""
    report = entry.report
    details: dict[str, Any] = {}
    raw = report.raw
    claim = None if entry.claim is None else shown_id(entry.claim, alias)
    columns: dict[str, Any] = {
        "position": position,
        "key": exact(report.key),
        "kind": report.kind.value,
        "at": report.at,
        **_texts(_EVENT_TEXTS, report, details, alias),
        "claim": claim,
        "claimed_at": entry.claimed_at,
        "is_dispatched": entry.is_dispatched,
        "failed": dump_ascii(entry.failed),
    }
    if entry.claim != claim:
        details["claim"] = entry.claim
    if hides_addresses:
        columns |= {"reason": redact(columns["reason"]), "recipient": ""}
        details = {name: _redacted(value) for name, value in details.items() if name != "recipient"}
        raw = {name: value if name == "id" else _redacted(value) for name, value in raw.items()}
    return {**columns, "raw": dump_ascii(raw), "details": dump_ascii(details)}


def delivery_of(row: EmailLog, events: Iterable[EmailLogEvent]) -> Delivery:
    """The delivery of a row, with its events in their order. Raises `DamagedRecord` for what is not ours."""
    message_id = row.message_id
    try:
        details = _details(row)
        message_id = message_id_of(row.message_id, row.details)
        is_withdrawn, run = with_leaving(details.get("leaving", ""))
        return Delivery(
            message_id=message_id,
            status=Status(row.status),
            created_at=aware(row.registered_at or row.created_at),
            updated_at=aware(row.updated_at),
            history=tuple(entry_of(event, message_id) for event in events),
            callbacks=json.loads(row.callbacks) if row.callbacks else {},
            summary=details["summary"] if "summary" in details else _summary(row),
            is_known=row.is_known,
            run=run,
            is_withdrawn=is_withdrawn,
            metadata=json.loads(row.metadata) if row.metadata else {},
            tags=tuple(json.loads(row.tags)) if row.tags else (),
            expires_at=None if row.not_after is None else aware(row.not_after),
            members=tuple(json.loads(row.members)) if row.members else (),
            suspension=decode_suspension(details.get("suspension", row.suspension), message_id),
            **_texts_of(row, _LOG_TEXTS, details),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise DamagedRecord([message_id], f"{type(exc).__name__}: {exc}") from exc


def entry_of(event: EmailLogEvent, message_id: str) -> HistoryEntry:
    """The entry of a history that an event holds."""
    details = _details(event)
    report = DeliveryReport(
        kind=Kind(event.kind),
        message_id=message_id,
        at=aware(event.at),
        raw=json.loads(event.raw) if event.raw else {},
        **_texts_of(event, _EVENT_TEXTS, details),
    )
    return HistoryEntry(
        report=report,
        claim=details.get("claim", event.claim),
        claimed_at=None if event.claimed_at is None else aware(event.claimed_at),
        is_dispatched=event.is_dispatched,
        failed=tuple(json.loads(event.failed)) if event.failed else (),
    )


def message_id_of(written: str, details: str) -> str:
    """The message id of a row, from its columns of these names."""
    message_id = inexact(written)
    return str(json.loads(details)["message_id"]) if message_id is None else message_id


def _envelope(value: Any, summary: Mapping[str, Any], details: dict[str, Any], alias: str) -> dict[str, Any]:
    message_id = exact(value.message_id)
    if inexact(message_id) is None:
        details["message_id"] = value.message_id
    return {
        "message_id": message_id,
        **_texts(_LOG_TEXTS, value, details, alias),
        "metadata": dump_ascii(value.metadata),
        "tags": dump_ascii(tuple(value.tags)),
        "not_after": value.expires_at,
        **_summary_columns(summary, details, alias),
    }


def _texts(names: Iterable[str], value: Any, details: dict[str, Any], alias: str) -> dict[str, str]:
    """The value's texts as columns; those that are not what the column says are noted in `details`."""
    columns: dict[str, str] = {}
    for name in names:
        text = getattr(value, name)
        column = shown(text or "", alias) if name == "reason" else shown_id(text or "", alias)
        if text != _text(name, column):
            details[name] = text
        columns[name] = column
    return columns


def _texts_of(row: EmailLog | EmailLogEvent, names: Iterable[str], details: Mapping[str, Any]) -> dict[str, Any]:
    return {name: details.get(name, _text(name, getattr(row, name))) for name in names}


def _text(name: str, column: str) -> str | None:
    return column if column or name in ("server", "via") else None


def _summary_columns(summary: Mapping[str, Any], details: dict[str, Any], alias: str) -> dict[str, Any]:
    recipients = summary.get("to")
    is_list = isinstance(recipients, list | tuple) and all(isinstance(each, str) for each in recipients)
    columns = {
        "sender": shown(_as_text(summary.get("from")), alias),
        "recipients": shown("\n".join(recipients), alias) if recipients and is_list else "",
        "recipient_count": _as_number(summary.get("recipients"), maximum=_MAX_COUNT),
        "subject": shown(_as_text(summary.get("subject")), alias),
        "priority": _as_number(summary.get("priority"), maximum=3),
    }
    if dict(summary) != _summary(EmailLog(**columns)):
        details["summary"] = dict(summary)
    return columns


def _summary(row: EmailLog) -> dict[str, Any]:
    """The summary that the columns tell of."""
    members: dict[str, Any] = {"subject": row.subject, "from": row.sender, "to": row.recipient_list}
    summary = {name: value for name, value in members.items() if value}
    numbers = {"recipients": row.recipient_count, "priority": row.priority}
    return {**summary, **{name: value for name, value in numbers.items() if value is not None}}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _as_number(value: Any, *, maximum: int) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value <= maximum else None


def _details(row: EmailLog | EmailLogEvent) -> dict[str, Any]:
    details: dict[str, Any] = json.loads(row.details) if row.details else {}
    return details


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {name: _redacted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return value
