"""`DeliveryReport` ↔ the text that an entry of a record keeps of it.

    report  TIME SHAPE [EXTRAS]

It changes when the proxy's reports do: what `raw` usually holds follows from the report's fields, and is not written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..report import DeliveryReport, Kind
from .packing import dump_json, pack_time, unpack_time

__all__ = ["pack_report", "unpack_report"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_REPORT = re.compile("(-?[0-9a-z]+)([NECR])(.*)", re.DOTALL)

#: The names of a report's extras: what a report seldom says.
_EXTRAS = {
    "r": "reason",
    "c": "code",
    "b": "bounce_type",
    "p": "pec_event",
    "a": "recipient",
    "i": "event_id",
    "t": "tenant_id",
    "v": "via",
    "w": "raw",
}
_EXTRA_DEFAULTS = {"via": "proxy"}

_ORDERED = json.JSONEncoder(sort_keys=True, default=repr)


def pack_report(report: DeliveryReport) -> str:
    """A report as a text without its kind and message id, which the entry's key and the record's key hold.

    TIME, then SHAPE: `E` or `C` where `raw` is just what 0.7.0 or 0.5.0 makes of this report, `R`
    where it is among the extras, `N` where there is none; then the extras as a JSON object, if there are any.
    """
    shape = next((name for name, raw in _usual_entries(report) if _is_same_json(raw, report.raw)), "R")
    extras: dict[str, Any] = {}
    for short, name in _EXTRAS.items():
        value = getattr(report, name)
        if value != _EXTRA_DEFAULTS.get(name) and (name != "raw" or shape == "R"):
            extras[short] = value
    return pack_time(report.at) + shape + (dump_json(extras) if extras else "")


def unpack_report(text: str, kind: Kind, message_id: str) -> DeliveryReport:
    """The inverse of `pack_report`. Raises `ValueError` for a text that it did not write."""
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
    """What `raw` usually is, as (shape, entry): nearly every report's raw entry follows from its fields."""
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
