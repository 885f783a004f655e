"""`SuppressionNotes`: a hard bounce or a complaint puts its address on the suppression list.

It is part of dispatching a report, done before the report is marked as dispatched: whatever dies in between, the report
comes again, and the address is on the list once.
"""

from __future__ import annotations

import logging

from ..deliveries.delivery import Delivery
from ..deliveries.report import DeliveryReport, Kind
from ..deliveries.stores.suppression import SuppressionList
from ..deliveries.suppression import DIGESTS, Cause, SuppressedAddress, digest_of
from ..errors import visible
from ..mail.addresses import address_key

__all__ = ["SuppressionNotes"]

logger = logging.getLogger(__name__)


class SuppressionNotes:
    """Puts addresses on the list, each once for a cause, however often a report comes."""

    def __init__(self, suppression: SuppressionList) -> None:
        self._suppression = suppression

    def note(self, report: DeliveryReport, delivery: Delivery | None) -> None:
        """Put the report's recipient on the list, where it is a reason for that. Raises `StoreError`."""
        cause = _cause_of(report)
        if cause is None:
            return
        address = address_key(report.recipient or "")
        if address is None or delivery is None or not _is_recipient(address, delivery):
            # Whoever knows a message id can write a bounce of it: it counts for those only whom the mail went to.
            logger.info(
                "message %s: its %s report names none of its recipients, and nobody is suppressed",
                visible(report.message_id),
                report.kind,
            )
            return
        entry = SuppressedAddress(address=address, cause=cause, at=report.at, message_id=report.message_id)
        if self._suppression.add([entry]):
            logger.info("message %s: its recipient is on the suppression list (%s)", visible(report.message_id), cause)


def _cause_of(report: DeliveryReport) -> Cause | None:
    if report.kind is Kind.COMPLAINED:
        return Cause.COMPLAINED
    is_hard = report.kind is Kind.BOUNCED and report.bounce_type == "hard"
    return Cause.BOUNCED if is_hard else None


def _is_recipient(address: str, delivery: Delivery) -> bool:
    """Whether the mail went to the address, as far as is remembered of it."""
    summary = delivery.summary
    if digest_of(delivery.message_id, address) in (summary.get(DIGESTS) or ()):
        return True
    return address in {address_key(str(each)) for each in summary.get("to") or ()}
