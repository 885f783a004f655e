"""Delivery reports: what the proxy says became of a message, and what we ourselves know of its submission."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from ..errors import InvalidReport, visible
from .kind import ONCE_A_MAIL, Kind
from .times import read_moment

__all__ = ["DeliveryReport", "Kind", "ParsedReports", "SetAside", "Untimed", "parse_entry", "parse_reports", "utcnow"]

#: Reasons come from SMTP servers of any temper. Longer ones are cut: a broker refuses headers and some
#: results of that size, and no one reads the rest.
MAX_REASON_LENGTH = 2000

#: The proxy's ids are ours, and ours are at most 255 characters (see `MailMessage`).
MAX_ID_LENGTH = 255


def utcnow() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """One entry of a delivery report: `kind` happened to `message_id` at `at`.

    `reason` may quote an address; it is for handlers and the store, never for a log. `raw` is the proxy's entry as
    it came (empty for what we report ourselves). `tenant_id` is who the sender of the report authenticated as, where
    each tenant has a token of its own. `via` distinguishes the proxy from a legacy transport in mixed operation, and
    from the bounce mailbox. `recipient` is whom a bounce or a complaint is about, where that is known, and
    `event_id` tells such reports apart, of which one notice may hold many. `retry_at` is when a deferred mail will be
    tried again, as far as the proxy says so: 0.6 and v1 report that moment, and neither a reason nor when they tried;
    `at` is then when the report came.
    """

    kind: Kind
    message_id: str
    at: datetime
    reason: str | None = field(default=None, repr=False)
    code: str | None = None
    bounce_type: str | None = None
    pec_event: str | None = None
    recipient: str | None = field(default=None, repr=False)
    event_id: str | None = None
    tenant_id: str | None = None
    via: str = "proxy"
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise InvalidReport(f"at must be an aware datetime, got {self.at!r}")

    @property
    def retry_at(self) -> datetime | None:
        """When the mail will be tried again; None where that is not said."""
        is_said = self.kind is Kind.DEFERRED and _has_next_try(self.raw)
        return read_moment(self.raw.get("deferred_ts")) if is_said else None

    @property
    def key(self) -> str:
        """What makes two reports of one message the same report: the proxy's carry no event id.

        What a submission came to has no time of its own, so it is the same however often it is found out.
        """
        is_own = self.kind is Kind.ERROR and not self.raw and self.via == "proxy"
        if is_own or self.kind in ONCE_A_MAIL:
            return str(self.kind.value)
        if self.event_id:
            return f"{self.kind.value}:{self.event_id}"
        # The proxy counts in seconds; our own reports carry the moment itself.
        # The same report can come twice: what it says of a next try is the same then.
        at = self.retry_at or self.at
        moment = f"{at.timestamp():.0f}" if self.via == "proxy" else f"{at.timestamp():.3f}"
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
        if self.retry_at is not None:
            data["retry_at"] = self.retry_at.isoformat()
        for name in ("code", "bounce_type", "pec_event", "recipient", "event_id", "tenant_id"):
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
                recipient=data.get("recipient"),
                event_id=data.get("event_id"),
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
class Untimed:
    """An entry whose outcome counts although its time could not be read: it has the time of its arrival."""

    message_id: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedReports:
    """A report body, read: the good entries in the order they came, and the bad ones set aside.

    `untimed` are those among the good ones that have the time of their arrival.
    """

    reports: tuple[DeliveryReport, ...]
    set_aside: tuple[SetAside, ...]
    untimed: tuple[Untimed, ...] = ()


def parse_reports(
    body: bytes, *, tenant_id: str | None = None, clock: Callable[[], datetime] = utcnow
) -> ParsedReports:
    """Read the body of a report POST: `{"delivery_report": [entry, …]}` in UTF-8 JSON.

    An entry that makes no sense is set aside; the others count. `clock` gives the time of arrival, for what says what
    happened and not clearly when (see `parse_entry`). Raises `InvalidReport` where the body as a whole is not JSON or
    has another shape.
    """
    arrived_at = clock()
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidReport(f"the body must be JSON: {exc}") from exc
    entries = data.get("delivery_report") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise InvalidReport('the body must be {"delivery_report": [entry, …]}')
    reports: list[DeliveryReport] = []
    set_aside: list[SetAside] = []
    untimed: list[Untimed] = []
    for entry in entries:
        try:
            found = parse_entry(entry, tenant_id=tenant_id, arrived_at=arrived_at)
        except InvalidReport as exc:
            set_aside.append(SetAside(message_id=_id_for_log(entry), problem=str(exc)))
            continue
        reports.extend(found)
        problems = [_time_problem(entry, name) for name in _TIMES.values() if _is_untimed(entry.get(name))]
        untimed += (Untimed(message_id=entry["id"], problem=problem) for problem in problems)
    return ParsedReports(reports=tuple(reports), set_aside=tuple(set_aside), untimed=tuple(untimed))


def parse_entry(
    entry: Any, *, tenant_id: str | None = None, arrived_at: datetime | None = None
) -> list[DeliveryReport]:
    """The reports of one entry, oldest first: one, but for an entry that carries several times.

    0.5.0 sends every key, null where it says nothing; the other releases leave those out. A time counts in every form
    that is clear (see `times.read_moment`). What is set and not clear, such as `"soon"`, still says what happened: the
    report has the time of its arrival, by default now, since an answer of 200 makes the proxy forget it, and any other
    makes it repeat the whole batch for ever. Sent again, such a `sent` or `error` counts once all the same; a
    `deferred`, a bounce or an event of certified mail may be dispatched twice. An empty text and `false` are taken for
    null. Raises `InvalidReport`.
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
        for fields in _read_fields(entry, arrived_at or utcnow())
    ]
    if not reports:
        raise InvalidReport("none of sent_ts, error_ts, deferred_ts, bounce_ts and pec_ts is set")
    return sorted(reports, key=lambda report: report.at)


#: kind → the key of its time, in the order in which such things happen.
_TIMES: Mapping[Kind, str] = {
    Kind.DEFERRED: "deferred_ts",
    Kind.SENT: "sent_ts",
    Kind.ERROR: "error_ts",
    Kind.BOUNCED: "bounce_ts",
    Kind.PEC: "pec_ts",
}

#: kind → what else its report says, as (field, key).
_TEXTS: Mapping[Kind, Sequence[tuple[str, str]]] = {
    Kind.DEFERRED: [("reason", "deferred_reason")],
    Kind.SENT: [],
    Kind.ERROR: [("reason", "error")],
    Kind.BOUNCED: [("reason", "bounce_reason"), ("code", "bounce_code"), ("bounce_type", "bounce_type")],
    Kind.PEC: [("reason", "pec_details"), ("pec_event", "pec_event")],
}

#: reason → code, where an account has reached its own limit at the proxy: no SMTP server said anything.
_CODES = {"rate_limit": "rate_limit", "rate_limit_exceeded": "rate_limit"}


def _read_fields(entry: Mapping[str, Any], arrived_at: datetime) -> Iterator[dict[str, Any]]:
    for kind, name in _TIMES.items():
        value = entry.get(name)
        if not _says_nothing(value):
            texts = {field_name: _text(entry.get(key)) for field_name, key in _TEXTS[kind]}
            texts.setdefault("code", _CODES.get(texts.get("reason") or ""))
            moment = read_moment(value) or arrived_at
            if kind is Kind.DEFERRED and _has_next_try(entry):
                # No event is in the future: what is, is the next try.
                moment = min(moment, arrived_at)
            yield {"kind": kind, "at": moment, **texts}


def _has_next_try(entry: Mapping[str, Any]) -> bool:
    """Whether `deferred_ts` is when a mail will be tried again.

    0.6 and v1 say so, without a reason. 0.7.0 says when it was tried in vain, and always why.
    """
    return entry.get("deferred_ts") is not None and entry.get("deferred_reason") is None


def _says_nothing(value: Any) -> bool:
    # Not by `in`: 0 is equal to False, and a moment.
    return value is None or value is False or value == ""


def _is_untimed(value: Any) -> bool:
    return not _says_nothing(value) and read_moment(value) is None


def _time_problem(entry: Mapping[str, Any], name: str) -> str:
    return f"{name} must be a number of unix seconds, got {reprlib.repr(entry[name])[:40]}"


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value)[:MAX_REASON_LENGTH]


def _id_for_log(entry: Any) -> str | None:
    message_id = entry.get("id") if isinstance(entry, dict) else None
    return message_id[:MAX_ID_LENGTH] if isinstance(message_id, str) else None
