"""`outcome_of`: how a mail has ended, as its result tells it."""

from __future__ import annotations

from dataclasses import dataclass

from ...deliveries.delivery import Delivery
from ...deliveries.report import DeliveryReport, Kind
from ...errors import DeliveryError

__all__ = ["Outcome", "outcome_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a mail. `name` is `sent`, `error`, `rejected` or `bounced`; `report` is None where none came."""

    message_id: str
    name: str
    report: DeliveryReport | None
    reason: str | None
    code: str | None

    def sent_report(self) -> DeliveryReport:
        """The report of a mail that was sent. Raises `DeliveryError` for any other."""
        if self.report is None or self.report.kind is not Kind.SENT:
            raise DeliveryError(self.reason, self.code, self.message_id)
        return self.report


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
