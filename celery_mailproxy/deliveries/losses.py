"""What genro-mail-proxy 0.7.0 makes of a mail that an SMTP server defers, as far as its reports show it.

It reports `deferred`, and nests the mail in its own row (see `proxy.nested_mail`). Unless somebody mends that in time,
it finds no sender at its next try, and reports `error: missing 'from'`: it has lost the mail, and nobody refused it.
"""

from __future__ import annotations

from dataclasses import replace

from .delivery import Delivery
from .report import DeliveryReport, Kind

__all__ = ["as_deferral", "has_been_lost", "healing_lease", "is_loss", "is_lost", "may_be_nested", "refusals"]

#: What the proxy says of a mail that it has lost. One that never had a sender it does not take.
_LOST = "missing 'from'"

#: Why such a mail is deferred once more, in place of what the proxy says.
_FOUND = "the proxy lost the email after it had deferred it, and is given it again"

#: Why a mail is deferred that no SMTP server has seen: it is not nested, and keeps its place.
_LIMITED = "rate_limit"


def is_loss(report: DeliveryReport) -> bool:
    """Whether the report says that the proxy has lost the mail."""
    return report.kind is Kind.ERROR and report.via == "proxy" and report.reason == _LOST


def as_deferral(loss: DeliveryReport) -> DeliveryReport:
    """The same report as what it is where the mail is healed: the mail has to wait."""
    # Not to be taken for what an SMTP server says in the same second.
    event_id = f"lost-{loss.at.timestamp():.0f}"
    return replace(loss, kind=Kind.DEFERRED, reason=_FOUND, event_id=event_id)


def may_be_nested(report: DeliveryReport) -> bool:
    """Whether the proxy may have nested the mail, or lost it: only its row tells.

    0.6 and v1 defer without a reason, and do no such thing.
    """
    is_deferred = report.kind is Kind.DEFERRED and report.via == "proxy"
    return is_deferred and report.reason is not None and report.reason != _LIMITED


def refusals(delivery: Delivery) -> list[DeliveryReport]:
    """Each time that an SMTP server has deferred the mail, oldest first."""
    found = [each for each in _heard(delivery) if may_be_nested(each) and not _is_found(each)]
    return sorted(found, key=lambda report: report.at)


def has_been_lost(delivery: Delivery) -> bool:
    """Whether the proxy has ever reported that it had lost the mail."""
    return any(_is_found(report) for report in _heard(delivery))


def is_lost(delivery: Delivery) -> bool:
    """Whether that is the last that was heard of the mail's way."""
    deferrals = sorted((each for each in _heard(delivery) if each.kind is Kind.DEFERRED), key=lambda each: each.at)
    return bool(deferrals) and not delivery.is_ended and _is_found(deferrals[-1])


def healing_lease(message_id: str) -> str:
    """The lease that whoever deletes the mail at the proxy, or adds it there once more, has to hold."""
    return f"healing.{message_id}"


def _heard(delivery: Delivery) -> list[DeliveryReport]:
    return [entry.report for entry in delivery.history if not entry.is_stale]


def _is_found(report: DeliveryReport) -> bool:
    return report.kind is Kind.DEFERRED and report.via == "proxy" and report.reason == _FOUND
