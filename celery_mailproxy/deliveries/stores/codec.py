"""Delivery ↔ the two texts a store keeps: a `head` that reports change, and a `static` that only registering writes.

    head    [status, updated, known, tenant, entry, …]          JSON; known is 1 or 0, tenant may be null
    entry   [key, claim, claimed, dispatched, report, failed …]  dispatched is 1 or 0, failed are names of handlers
    report  TIME SHAPE [EXTRAS]                                  a text, see `pack_report`
    static  {"c": created, "t": task id, "a": account, …}        JSON; what has its default is left out. Where there
                                                                 is one, `"u": leaving` comes first: scripts look there
    suspension  [state, owner, token, since, writers]            JSON; only there where a result is suspended, and
    message     what publishes the task's message again          a text behind it, empty when done

The message id is in neither: it is the record's key. Times are whole microseconds since 1970 in base 36, as texts:
exact, short, and readable by `tonumber(text, 36)` where a script has to compare them. No JSON array is ever empty and
no number in a head is above 1, for Lua's `cjson` writes an empty array as an object and cuts numbers at 14 digits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import DamagedRecord
from ..delivery import Delivery, HistoryEntry, Status
from ..leaving import leaving_of, with_leaving
from ..report import Kind
from ..suspension import Suspension, SuspensionState
from .packing import dump_json, pack_claim, pack_text, pack_time, unpack_claim, unpack_text, unpack_time
from .report_codec import pack_report, unpack_report

__all__ = ["decode_delivery", "decode_suspension", "encode_delivery", "encode_head", "encode_suspension"]

#: The names of a static's members. `task_id` is there only where it is not the message id, as it mostly is.
_STATIC = {
    "k": "callbacks",
    "a": "account_id",
    "s": "server",
    "b": "batch_code",
    "m": "summary",
    "p": "parent_id",
    "j": "members",
    "d": "metadata",
    "g": "tags",
}
_STATIC_DEFAULTS: Mapping[str, Any] = {
    "callbacks": {},
    "server": "default",
    "summary": {},
    "members": (),
    "metadata": {},
    "tags": (),
}


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
        owner=str(unpack_claim(owner, message_id)),
        token=unpack_text(token),
        since=unpack_time(since),
        writers=writers,
        message=message or None,
    )


def decode_delivery(message_id: str, head: str, static: str, suspension: str | None = None) -> Delivery:
    """The inverse of `encode_delivery` and `encode_suspension`. Raises `DamagedRecord` for texts it did not write."""
    try:
        status, updated, is_known, tenant, *entries = json.loads(head)
        members = json.loads(static)
        suspended = decode_suspension(suspension, message_id)
        members |= {name: tuple(members[name]) for name in ("g", "j") if name in members}
        is_withdrawn, run = with_leaving(members.get("u", ""))
        return Delivery(
            message_id=message_id,
            status=Status(status),
            updated_at=unpack_time(updated),
            is_known=bool(is_known),
            tenant_id=unpack_text(tenant),
            history=tuple(_decode_entry(entry, message_id) for entry in entries),
            created_at=unpack_time(members["c"]),
            expires_at=unpack_time(members["e"]) if "e" in members else None,
            run=run,
            is_withdrawn=is_withdrawn,
            # A result can join a message that another task has registered, and that part is written only once.
            task_id=suspended.owner if suspended else members.get("t", message_id),
            suspension=suspended,
            **{name: members[short] for short, name in _STATIC.items() if short in members},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as exc:
        raise DamagedRecord([message_id], f"{type(exc).__name__}: {exc}") from exc


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
    leaving = leaving_of(delivery)
    members: dict[str, Any] = {"u": leaving} if leaving else {}
    members["c"] = pack_time(delivery.created_at)
    if delivery.task_id != delivery.message_id:
        members["t"] = delivery.task_id
    if delivery.expires_at is not None:
        members["e"] = pack_time(delivery.expires_at)
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
        report=unpack_report(report, Kind(key.partition(":")[0]), message_id),
        claim=unpack_claim(claim, message_id),
        claimed_at=None if claimed is None else unpack_time(claimed),
        is_dispatched=bool(is_dispatched),
        failed=tuple(str(unpack_text(name)) for name in failed),
    )
