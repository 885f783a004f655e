"""What everybody does with reports that come in, before and after the store has seen them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ..deliveries.recording import Recorded, Verdict
from ..deliveries.report import DeliveryReport, Kind
from ..errors import visible

__all__ = ["in_order", "log_passed_over"]

logger = logging.getLogger(__name__)

#: Reports of one moment are dispatched in this order: what the proxy did first comes first.
_ORDER: Mapping[Kind, int] = {kind: rank for rank, kind in enumerate(Kind)}


def in_order(reports: Iterable[DeliveryReport]) -> list[DeliveryReport]:
    """Oldest first, each once: a batch may be in any order and may hold a report twice."""
    distinct: dict[tuple[str, str], DeliveryReport] = {}
    for report in reports:
        distinct.setdefault((report.message_id, report.key), report)
    return sorted(distinct.values(), key=lambda report: (report.at, _ORDER[report.kind]))


def log_passed_over(recorded: Recorded) -> None:
    """Say why a report is not simply dispatched now, if it is not."""
    report, verdict = recorded.report, recorded.verdict
    if verdict in (Verdict.NEW, Verdict.UNKNOWN, Verdict.DAMAGED):
        return
    # A mail that we had given up and that was sent all the same is worth a look, and so are another tenant's report,
    # and handlers that may run twice.
    is_odd = verdict in (Verdict.FOREIGN, Verdict.AGAIN) or (verdict is Verdict.STALE and report.kind is Kind.SENT)
    level = logging.WARNING if is_odd else logging.DEBUG
    what = "dispatched again, since the run that began to is gone" if verdict is Verdict.AGAIN else verdict
    delivery = recorded.delivery
    is_nobodys = verdict is Verdict.FOREIGN and delivery is not None and delivery.tenant_id is None
    hint = "; no tenant is known of this email, set mail_proxy_tenant" if is_nobodys else ""
    logger.log(level, "message %s: %s report is %s%s", visible(report.message_id), report.kind, what, hint)
