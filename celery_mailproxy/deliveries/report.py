"""Delivery reports: what the proxy says became of a message, and what we ourselves know of its submission."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from ..errors import InvalidReport, visible

__all__ = ["DeliveryReport", "Kind", "ParsedReports", "SetAside", "parse_entry", "parse_reports", "utcnow"]

#: Reasons come from SMTP servers of any temper. Longer ones are cut: a broker refuses headers and some
#: results of that size, and no one reads the rest.
MAX_REASON_LENGTH = 2000

#: The proxy's ids are ours, and ours are at most 255 characters (see `MailMessage`).
MAX_ID_LENGTH = 255


#: The year 5138: what is more is no number of seconds.
_FAR_SECONDS = 1e11

#: No time is written with more characters.
_MAX_TIME_LENGTH = 40


def utcnow() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(timezone.utc)


class Kind(str, Enum):
    """What a report says."""

    QUEUED = "queued"  #: the proxy has the message (ours: the answer to the submission)
    REJECTED = "rejected"  #: the proxy refused the message (ours: the answer to the submission)
    SENT = "sent"  #: an SMTP server accepted it for at least one recipient
    ERROR = "error"  #: given up for good, by the proxy or by us when retries are used up
    DEFERRED = "deferred"  #: tried in vain for now; the proxy will try again
    BOUNCED = "bounced"  #: came back after it had been sent (the proxy's Enterprise edition)
    PEC = "pec"  #: an event of Italian certified mail (the proxy's Enterprise edition)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """One entry of a delivery report: `kind` happened to `message_id` at `at`.

    `reason` may quote an address; it is for handlers and the store, never for a log. `raw` is the proxy's entry as
    it came (empty for what we report ourselves). `tenant_id` is who the sender of the report authenticated as, where
    each tenant has a token of its own. `via` distinguishes the proxy from a legacy transport in mixed operation.
    """

    kind: Kind
    message_id: str
    at: datetime
    reason: str | None = field(default=None, repr=False)
    code: str | None = None
    bounce_type: str | None = None
    pec_event: str | None = None
    tenant_id: str | None = None
    via: str = "proxy"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise InvalidReport(f"at must be an aware datetime, got {self.at!r}")

    @property
    def key(self) -> str:
        """What makes two reports of one message the same report: the wire carries no event id.

        What a submission came to has no time of its own, so it is the same however often it is found out.
        """
        is_own = self.kind is Kind.ERROR and not self.raw and self.via == "proxy"
        if is_own or self.kind in (Kind.QUEUED, Kind.REJECTED):
            return str(self.kind.value)
        # The proxy counts in seconds; our own reports carry the moment itself.
        moment = f"{self.at.timestamp():.0f}" if self.via == "proxy" else f"{self.at.timestamp():.3f}"
        parts = [self.kind.value, moment, self.pec_event or self.code or ""]
        return ":".join(part for part in parts if part)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict: the first argument of `on_sent` and its siblings. `at` is ISO 8601 in UTC."""
        data: dict[str, Any] = {
            "message_id": self.message_id,
            "kind": self.kind.value,
            "at": self.at.astimezone(timezone.utc).isoformat(),
            "reason": self.reason,
        }
        for name in ("code", "bounce_type", "pec_event", "tenant_id"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        data["via"] = self.via
        if self.raw:
            data["raw"] = dict(self.raw)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DeliveryReport:
        """The inverse of `to_json`. Raises `InvalidReport` on anything else."""
        try:
            return cls(
                kind=Kind(data["kind"]),
                message_id=data["message_id"],
                at=datetime.fromisoformat(data["at"]),
                reason=data.get("reason"),
                code=data.get("code"),
                bounce_type=data.get("bounce_type"),
                pec_event=data.get("pec_event"),
                tenant_id=data.get("tenant_id"),
                via=data.get("via", "proxy"),
                raw=data.get("raw") or {},
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise InvalidReport(f"not a report written by DeliveryReport.to_json: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """An entry of a report body that could not be read: its id where it has one, and what is wrong with it."""

    message_id: str | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReports:
    """A report body, read: the good entries in the order they came, and the bad ones set aside."""

    reports: tuple[DeliveryReport, ...]
    set_aside: tuple[SetAside, ...]


def parse_reports(body: bytes, *, tenant_id: str | None = None) -> ParsedReports:
    """Read the body of a report POST: `{"delivery_report": [entry, …]}` in UTF-8 JSON.

    An entry that makes no sense is set aside; the others count. Raises `InvalidReport` where the body as a whole is
    not JSON or has another shape.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidReport(f"the body must be JSON: {exc}") from exc
    entries = data.get("delivery_report") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise InvalidReport('the body must be {"delivery_report": [entry, …]}')
    reports: list[DeliveryReport] = []
    set_aside: list[SetAside] = []
    for entry in entries:
        try:
            reports.extend(parse_entry(entry, tenant_id=tenant_id))
        except InvalidReport as exc:
            set_aside.append(SetAside(message_id=_id_for_log(entry), problem=str(exc)))
    return ParsedReports(reports=tuple(reports), set_aside=tuple(set_aside))


def parse_entry(entry: Any, *, tenant_id: str | None = None) -> list[DeliveryReport]:
    """The reports of one entry, oldest first: one, but for an entry that carries several times.

    The commands API sends every key, null where it says nothing; the entities API leaves those out.
    """
    if not isinstance(entry, dict):
        raise InvalidReport(f"an entry must be an object, got {type(entry).__name__}")
    message_id = entry.get("id")
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_ID_LENGTH:
        raise InvalidReport(f"id must be a text of 1 to {MAX_ID_LENGTH} characters")
    if visible(message_id) != message_id:
        # None of ours is; in a log or a terminal it would be more than an id.
        raise InvalidReport("id must hold no control character")
    reports = [
        DeliveryReport(message_id=message_id, tenant_id=tenant_id, raw=entry, **fields)
        for fields in _read_fields(entry)
    ]
    if not reports:
        raise InvalidReport("none of sent_ts, error_ts, deferred_ts, bounce_ts and pec_ts is set")
    return sorted(reports, key=lambda report: report.at)


def _read_fields(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if entry.get("deferred_ts") is not None:
        reason = entry.get("deferred_reason")
        yield {"kind": Kind.DEFERRED, "at": _time(entry, "deferred_ts"), "reason": _text(reason)}
    if entry.get("sent_ts") is not None:
        yield {"kind": Kind.SENT, "at": _time(entry, "sent_ts")}
    if entry.get("error_ts") is not None:
        yield {"kind": Kind.ERROR, "at": _time(entry, "error_ts"), "reason": _text(entry.get("error"))}
    if entry.get("bounce_ts") is not None:
        yield {
            "kind": Kind.BOUNCED,
            "at": _time(entry, "bounce_ts"),
            "reason": _text(entry.get("bounce_reason")),
            "code": _text(entry.get("bounce_code")),
            "bounce_type": _text(entry.get("bounce_type")),
        }
    if entry.get("pec_ts") is not None:
        yield {
            "kind": Kind.PEC,
            "at": _time(entry, "pec_ts"),
            "reason": _text(entry.get("pec_details")),
            "pec_event": _text(entry.get("pec_event")),
        }


def _time(entry: Mapping[str, Any], name: str) -> datetime:
    """A moment in whatever form is clear: an outcome must not be lost because a release writes its time otherwise.

    Unix seconds, as every release sends them; milliseconds, microseconds or nanoseconds; either as text; ISO 8601.
    """
    value = entry[name]
    if isinstance(value, str):
        value = _seconds_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidReport(f"{name} must be a number of unix seconds, got {entry[name]!r:.40}")
    try:
        # NaN is a ValueError here, infinity and an integer of a thousand digits are OverflowErrors.
        return datetime.fromtimestamp(_seconds(value), timezone.utc)
    except (OverflowError, OSError, ValueError) as exc:
        raise InvalidReport(f"{name} is out of range, got {entry[name]!r:.40}") from exc


def _seconds_of_text(text: str) -> float | None:
    if len(text) > _MAX_TIME_LENGTH:
        return None
    with suppress(ValueError):
        return float(text)
    with suppress(ValueError):
        # Python 3.10 knows no Z.
        moment = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
        # Without a zone it is what servers count in.
        seconds = moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
        return seconds if abs(seconds) < _FAR_SECONDS else None
    return None


def _seconds(number: int | float) -> float:
    """Unix seconds of a time in seconds or in a smaller unit: in seconds they would all lie beyond the year 5000."""
    seconds = float(number)
    for _ in ("milliseconds", "microseconds", "nanoseconds"):
        if seconds >= _FAR_SECONDS:
            seconds /= 1000
    if not -_FAR_SECONDS < seconds < _FAR_SECONDS:
        raise OverflowError(seconds)
    return seconds


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value)[:MAX_REASON_LENGTH]


def _id_for_log(entry: Any) -> str | None:
    message_id = entry.get("id") if isinstance(entry, dict) else None
    return message_id[:MAX_ID_LENGTH] if isinstance(message_id, str) else None
