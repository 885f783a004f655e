"""The outcome of a mail that a `FakeProxy` accepts: steps, each of which the proxy reports.

proxy.plan("late@example.com", deferred("451 try later", delay_seconds=0.2), sent())
proxy.plan("invoice-7", error("550 no such user"))
proxy.plan("gone@example.com", sent(), bounced("550 mailbox full"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Step", "bounced", "deferred", "error", "pec", "report_entry", "sent"]

Kind = Literal["sent", "error", "deferred", "bounced", "pec"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that happens to a mail, `delay_seconds` after the step before it (the first: after submission)."""

    kind: Kind
    reason: str | None = None
    delay_seconds: float = 0.0
    details: Mapping[str, str] = field(default_factory=dict)


def sent(*, delay_seconds: float = 0.0) -> Step:
    """An SMTP server took the mail."""
    return Step(kind="sent", delay_seconds=delay_seconds)


def error(reason: str = "(554, 'refused') (SMTP 554)", *, delay_seconds: float = 0.0) -> Step:
    """The proxy gave the mail up."""
    return Step(kind="error", reason=reason, delay_seconds=delay_seconds)


def deferred(reason: str = "rate_limit", *, delay_seconds: float = 0.0) -> Step:
    """The proxy will try again: the next step. 0.5.0 does not report this; 0.6 and v1 report when, and no reason.

    0.7.0 then loses the mail, unless the reason is `rate_limit`: at its next step it reports `error: missing 'from'`.
    Where it is healed (see `mail_proxy_heal`), the next step comes at once.
    """
    return Step(kind="deferred", reason=reason, delay_seconds=delay_seconds)


def bounced(
    reason: str = "no such user", *, bounce_type: str = "hard", code: str = "550", delay_seconds: float = 0.0
) -> Step:
    """A bounce came back, usually after `sent()`. 0.5.0 does not report it."""
    details = {"bounce_type": bounce_type, "bounce_code": code}
    return Step(kind="bounced", reason=reason, delay_seconds=delay_seconds, details=details)


def pec(event: str = "pec_delivery", *, details: str | None = None, delay_seconds: float = 0.0) -> Step:
    """A receipt of Italian certified mail: `pec_acceptance`, `pec_delivery` or `pec_error`; not by 0.5.0."""
    return Step(kind="pec", reason=details, delay_seconds=delay_seconds, details={"pec_event": event})


def report_entry(
    profile: str, message_id: str, step: Step, timestamp: int, next_try: int | None = None
) -> dict[str, Any] | None:
    """The entry of a report body for this step, as that release writes it; None if it does not report it.

    `next_try` is when a deferred mail is tried again: 0.6 and v1 report that moment, in place of the present one.
    """
    if profile == "commands-0.5":
        if step.kind not in ("sent", "error"):
            return None
        failed = step.kind == "error"
        return {
            "id": message_id,
            "sent_ts": None if failed else timestamp,
            "error_ts": timestamp if failed else None,
            "error": step.reason if failed else None,
        }
    entry: dict[str, Any] = {"id": message_id}
    if step.kind == "sent":
        entry["sent_ts"] = timestamp
    elif step.kind == "error":
        entry |= {"error_ts": timestamp, "error": step.reason}
    elif step.kind == "deferred":
        is_present = profile == "entities"
        moment = timestamp if is_present or next_try is None else next_try
        entry |= {"deferred_ts": moment, "deferred_reason": step.reason if is_present else None}
    elif step.kind == "bounced":
        entry |= {"bounce_ts": timestamp, **step.details, "bounce_reason": step.reason}
    else:
        entry |= {**step.details, "pec_ts": timestamp}
        if step.reason:
            entry["pec_details"] = step.reason
    return entry
