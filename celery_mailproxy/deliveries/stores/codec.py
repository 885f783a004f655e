"""Delivery ↔ the two texts a store keeps: a `head` that reports change, and a `static` that only registering writes.

    head    [status, updated, known, tenant, entry, …]          JSON; known is 1 or 0, tenant may be null
    entry   [key, claim, claimed, dispatched, report, failed …]  dispatched is 1 or 0, failed are names of handlers
    report  TIME SHAPE [EXTRAS]                                  a text, see `pack_report`
    static  {"c": created, "t": task id, "a": account, …}        JSON; what has its default is left out
    suspension  [state, owner, token, since, writers]            JSON; only there where a result is suspended, and
    message     what publishes the task's message again          a text behind it, empty when done

The message id is in neither: it is the record's key. Times are whole microseconds since 1970 in base 36, as texts:
exact, short, and readable by `tonumber(text, 36)` where a script has to compare them. No JSON array is ever empty and
no number in a head is above 1, for Lua's `cjson` writes an empty array as an object and cuts numbers at 14 digits.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from ...errors import StoreError
from ..delivery import Delivery, HistoryEntry, Status
from ..report import DeliveryReport, Kind
from ..suspension import Suspension, SuspensionState

__all__ = [
    "decode_delivery",
    "decode_suspension",
    "dump_json",
    "encode_delivery",
    "encode_head",
    "encode_suspension",
    "pack_claim",
    "pack_report",
    "pack_text",
    "pack_time",
    "unpack_text",
    "unpack_time",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# A lone surrogate comes from a JSON escape on the wire: legal there, but neither UTF-8 nor cjson can say it.
_NEEDS_ESCAPE = re.compile("[\\\\\x00-\x1f\ud800-\udfff]")
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REPORT = re.compile("(-?[0-9a-z]+)([NECR])(.*)", re.DOTALL)

#: The names of a report's extras: what a report seldom says.
_EXTRAS = {"r": "reason", "c": "code", "b": "bounce_type", "p": "pec_event", "t": "tenant_id", "v": "via", "w": "raw"}
_EXTRA_DEFAULTS = {"via": "proxy"}

#: The names of a static's members. `task_id` is there only where it is not the message id, as it mostly is.
_STATIC = {
    "k": "callbacks",
    "a": "account_id",
    "s": "server",
    "b": "batch_code",
    "m": "summary",
    "p": "parent_id",
    "j": "members",
}
_STATIC_DEFAULTS: Mapping[str, Any] = {"callbacks": {}, "server": "default", "summary": {}, "members": ()}


def encode_delivery(delivery: Delivery) -> tuple[str, str]:
    """`(head, static)` of a delivery; both are UTF-8-able and hold no line break.

    Raises `StoreError` where callbacks, summary or a raw report hold what JSON cannot express.
    """
    return encode_head(delivery), _encode_static(delivery)


def encode_suspension(suspension: Suspension | None, message_id: str) -> str | None:
    """Both lines of a suspended result as one text; neither holds another line break."""
    if suspension is None:
        return None
    fields = [
        suspension.state.value,
        pack_claim(suspension.owner, message_id),
        pack_text(suspension.token),
        pack_time(suspension.since),
        suspension.writers,
    ]
    return f"{dump_json(fields)}\n{suspension.message or ''}"


def decode_suspension(text: str | None, message_id: str) -> Suspension | None:
    """The inverse of `encode_suspension`."""
    if not text:
        return None
    fields, _, message = text.partition("\n")
    state, owner, token, since, writers = json.loads(fields)
    return Suspension(
        state=SuspensionState(state),
        owner=str(_unpack_claim(owner, message_id)),
        token=unpack_text(token),
        since=unpack_time(since),
        writers=writers,
        message=message or None,
    )


def decode_delivery(message_id: str, head: str, static: str, suspension: str | None = None) -> Delivery:
    """The inverse of `encode_delivery` and `encode_suspension`. Raises `StoreError` for texts that it did not write."""
    try:
        status, updated, is_known, tenant, *entries = json.loads(head)
        members = json.loads(static)
        suspended = decode_suspension(suspension, message_id)
        if "j" in members:
            members["j"] = tuple(members["j"])
        return Delivery(
            message_id=message_id,
            status=Status(status),
            updated_at=unpack_time(updated),
            is_known=bool(is_known),
            tenant_id=unpack_text(tenant),
            history=tuple(_decode_entry(entry, message_id) for entry in entries),
            created_at=unpack_time(members["c"]),
            # A result can join a message that another task has registered, and that part is written only once.
            task_id=suspended.owner if suspended else members.get("t", message_id),
            suspension=suspended,
            **{name: members[short] for short, name in _STATIC.items() if short in members},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise StoreError(f"the record of message {message_id!r} is damaged: {exc}") from exc


def encode_head(delivery: Delivery) -> str:
    """The part of a record that reports change."""
    head: list[Any] = [
        delivery.status.value,
        pack_time(delivery.updated_at),
        int(delivery.is_known),
        pack_text(delivery.tenant_id),
    ]
    head += (_encode_entry(entry, delivery.message_id) for entry in delivery.history)
    return dump_json(head)


def _encode_static(delivery: Delivery) -> str:
    members: dict[str, Any] = {"c": pack_time(delivery.created_at)}
    if delivery.task_id != delivery.message_id:
        members["t"] = delivery.task_id
    for short, name in _STATIC.items():
        value = getattr(delivery, name)
        if value != _STATIC_DEFAULTS.get(name):
            members[short] = value
    return dump_json(members)


def _encode_entry(entry: HistoryEntry, message_id: str) -> list[Any]:
    return [
        pack_text(entry.report.key),
        pack_claim(entry.claim, message_id),
        None if entry.claimed_at is None else pack_time(entry.claimed_at),
        int(entry.is_dispatched),
        pack_report(entry.report),
        *(pack_text(name) for name in entry.failed),
    ]


def _decode_entry(entry: list[Any], message_id: str) -> HistoryEntry:
    key, claim, claimed, is_dispatched, report, *failed = entry
    return HistoryEntry(
        report=_unpack_report(report, Kind(key.partition(":")[0]), message_id),
        claim=_unpack_claim(claim, message_id),
        claimed_at=None if claimed is None else unpack_time(claimed),
        is_dispatched=bool(is_dispatched),
        failed=tuple(str(unpack_text(name)) for name in failed),
    )


def pack_report(report: DeliveryReport) -> str:
    """A report as a text without its kind and message id, which the entry's key and the record's key tell.

    TIME, then SHAPE: `E` or `C` where `raw` is just what the entities or the commands API makes of this report, `R`
    where it is among the extras, `N` where there is none; then the extras as a JSON object, if there are any.
    """
    shape = next((name for name, raw in _usual_entries(report) if _is_same_json(raw, report.raw)), "R")
    extras: dict[str, Any] = {}
    for short, name in _EXTRAS.items():
        value = getattr(report, name)
        if value != _EXTRA_DEFAULTS.get(name) and (name != "raw" or shape == "R"):
            extras[short] = value
    return pack_time(report.at) + shape + (dump_json(extras) if extras else "")


def _unpack_report(text: str, kind: Kind, message_id: str) -> DeliveryReport:
    match = _REPORT.fullmatch(text)
    if match is None:
        raise ValueError("an entry without a report")
    time, shape, rest = match.groups()
    extras = json.loads(rest) if rest else {}
    fields = {name: extras[short] for short, name in _EXTRAS.items() if short in extras}
    report = DeliveryReport(kind=kind, message_id=message_id, at=unpack_time(time), **fields)
    if shape not in "EC":
        return report
    raw = next(raw for name, raw in _usual_entries(report) if name == shape)
    return DeliveryReport(kind=kind, message_id=message_id, at=report.at, raw=raw, **fields)


def _usual_entries(report: DeliveryReport) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What `raw` usually is, as (shape, entry): nearly every report's raw entry can be told from its fields."""
    yield "N", {}
    seconds = (report.at - _EPOCH) // timedelta(seconds=1)
    entry: dict[str, Any] = {"id": report.message_id}
    if report.kind in (Kind.SENT, Kind.ERROR):
        times = {"sent_ts": None, "error_ts": None, f"{report.kind.value}_ts": seconds}
        yield "C", {**entry, **times, "error": report.reason}
    if report.kind is Kind.SENT:
        yield "E", {**entry, "sent_ts": seconds}
    elif report.kind is Kind.ERROR:
        yield "E", {**entry, "error_ts": seconds, "error": report.reason}
    elif report.kind is Kind.DEFERRED:
        yield "E", {**entry, "deferred_ts": seconds, "deferred_reason": report.reason}
    elif report.kind is Kind.BOUNCED:
        bounce = {"type": report.bounce_type, "code": report.code, "reason": report.reason}
        yield "E", {**entry, "bounce_ts": seconds, **{f"bounce_{name}": text for name, text in bounce.items()}}
    elif report.kind is Kind.PEC:
        yield "E", {**entry, "pec_event": report.pec_event, "pec_ts": seconds, "pec_details": report.reason}


def _is_same_json(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    # `==` alone takes 1 for True and 1.0 for 1.
    return one == other and (not one or _ORDERED.encode(one) == _ORDERED.encode(dict(other)))


def pack_claim(claim: str | None, message_id: str) -> str | None:
    """A claim as a text: `=` for the message id itself, `~` and 22 characters for a UUID, else as it is."""
    if claim is None:
        return None
    if claim == message_id:
        return "="
    if _UUID.fullmatch(claim):
        return "~" + urlsafe_b64encode(UUID(claim).bytes).rstrip(b"=").decode()
    packed: str = pack_text("=" + claim if claim[:1] in ("=", "~") else claim)
    return packed


def _unpack_claim(text: str | None, message_id: str) -> str | None:
    if text is None or text == "=":
        return None if text is None else message_id
    if text.startswith("~"):
        return str(UUID(bytes=urlsafe_b64decode(text[1:] + "==")))
    claim: str = unpack_text(text.removeprefix("="))
    return claim


def pack_text(text: str | None) -> Any:
    """The text in characters that every store and script takes; most texts are themselves. None stays None."""
    if text is None or not _NEEDS_ESCAPE.search(text):
        return text
    return json.dumps(text)[1:-1]


def unpack_text(text: str | None) -> Any:
    """The inverse of `pack_text`."""
    if text is None or "\\" not in text:
        return text
    return json.loads(f'"{text}"')


def pack_time(at: datetime) -> str:
    """An aware time as whole microseconds since 1970 in base 36."""
    microseconds = (at - _EPOCH) // _MICROSECOND
    digits = ""
    rest = abs(microseconds)
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return digits if microseconds >= 0 else "-" + digits


def unpack_time(text: str) -> datetime:
    """The inverse of `pack_time`, in UTC."""
    return _EPOCH + int(text, 36) * _MICROSECOND


def dump_json(value: Any) -> str:
    """JSON without blanks and line breaks, in UTF-8 where it can be. Raises `StoreError` for what JSON cannot say."""
    try:
        text = _COMPACT.encode(value)
        text.encode()
    except UnicodeEncodeError:
        return _ASCII.encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise StoreError(
            f"a delivery must be JSON-able: {exc}; keep to texts, numbers, lists and dicts in signatures"
        ) from exc
    return text


def _mapping_to_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON-able")


# Made once: `json.dumps` makes one for each call that has options.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_mapping_to_dict)
_ASCII = json.JSONEncoder(separators=(",", ":"), default=_mapping_to_dict)
_ORDERED = json.JSONEncoder(sort_keys=True, default=repr)
