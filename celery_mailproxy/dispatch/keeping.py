"""`ReportKeeper`: the outbox of reports. What the store knows of a report outlives whatever the broker loses."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from ..deliveries.recording import LET_GO_SECONDS, Verdict
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import DeliveryStore, Recording
from ..errors import StoreError
from ..runtime import Runtime
from .healing import HealingRequests, healing_requests_of, losses_as_deferrals
from .intake import in_order, log_passed_over

__all__ = ["HOLD_SECONDS", "KeptReports", "ReportKeeper", "report_keeper_of"]

#: How long the sweep leaves alone what has been handed to a task.
HOLD_SECONDS = 300.0

#: A dispatch task does something with these. Of the others somebody else does, or there is nothing left to do.
_FOR_A_TASK = frozenset({Verdict.NEW, Verdict.AGAIN, Verdict.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReports:
    """Reports that a dispatch task is to be published for, which goes on `after` this claim."""

    reports: Sequence[DeliveryReport]
    claim: str


class ReportKeeper:
    """Records reports before they are published, under a claim that their dispatch task takes over.

    A task that the broker loses leaves the claim to grow stale, and `sweep` hands the report to another. `hold_seconds`
    is how long a task may wait in the queue before that. With `healing` a mail that the proxy has lost is deferred, and
    has not ended, as for `Dispatcher`.
    """

    def __init__(self, store: DeliveryStore, *, hold_seconds: float, healing: HealingRequests | None = None) -> None:
        self._store = store
        self._hold_seconds = hold_seconds
        self._healing = healing

    def keep(self, reports: Sequence[DeliveryReport]) -> KeptReports:
        """Record the reports; the answer is those that a task has to be published for.

        Raises `StoreError`, and kombu's `OperationalError` where one is of a mail that has to be healed once more.

        Those of unknown messages are among them, and they are not kept: there is nothing to keep them with.
        """
        claim = str(uuid4())
        if self._healing is not None:
            reports = losses_as_deferrals(self._store, reports)
        how = Recording(hold_seconds=self._hold_seconds)
        answers = self._store.record(in_order(reports), claim=claim, how=how)
        for each in answers:
            if each.verdict not in _FOR_A_TASK:
                log_passed_over(each)
            if each.verdict is Verdict.DUPLICATE and self._healing is not None:
                self._healing.ask_again(each.report, each.delivery)
        return KeptReports(reports=[each.report for each in answers if each.verdict in _FOR_A_TASK], claim=claim)

    def let_go(self, kept: KeptReports) -> None:
        """They could not be published: whoever gets them next need not wait. Never raises `StoreError`."""
        with suppress(StoreError):
            self._store.record(kept.reports, claim=kept.claim, how=Recording(hold_seconds=LET_GO_SECONDS))


def report_keeper_of(runtime: Runtime, *, hold_seconds: float) -> ReportKeeper:
    """A keeper for the app's store."""
    return ReportKeeper(runtime.store, hold_seconds=hold_seconds, healing=healing_requests_of(runtime))
