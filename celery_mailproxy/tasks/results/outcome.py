"""`outcome_of`: how a mail has ended, as its result tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...deliveries.delivery import Delivery
from ...deliveries.report import DeliveryReport, Kind
from ...errors import DeliveryCancelled, DeliveryError, DeliveryExpired, DeliverySuppressed

__all__ = ["Outcome", "outcome_name", "outcome_of"]

_ERRORS: Mapping[str, type[DeliveryError]] = {
    Kind.CANCELLED.value: DeliveryCancelled,
    Kind.EXPIRED.value: DeliveryExpired,
    Kind.SUPPRESSED.value: DeliverySuppressed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a mail. `name` is that of a status that is an end; `report` is None where none came."""

    message_id: str
    name: str
    report: DeliveryReport | None
    reason: str | None
    code: str | None

    def sent_report(self) -> DeliveryReport:
        """The report of a mail that was sent. Raises `DeliveryError`, or the subclass for its end, for any other."""
        if self.report is None or self.report.kind is not Kind.SENT:
            error = _ERRORS.get(self.name, DeliveryError)
            raise error(self.reason, self.code, self.message_id)
        return self.report


def outcome_name(error: DeliveryError) -> str:
    """How a mail has ended that the proxy never had, by the error that says so."""
    return next((name for name, kind in _ERRORS.items() if isinstance(error, kind)), Kind.REJECTED.value)


def outcome_of(delivery: Delivery) -> Outcome:
    """How the mail of this delivery, which has ended, did so."""
    report = delivery.outcome
    return Outcome(
        message_id=delivery.message_id,
        name=(report.kind if report else delivery.status).value,
        report=report,
        reason=report.reason if report else delivery.reason,
        code=report.code if report else None,
    )
