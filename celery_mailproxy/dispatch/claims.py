"""`ClaimKeeper`: renews the claims of a run while handlers run, so that nobody takes its process for dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from ..deliveries.recording import CLAIM_SECONDS
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import DeliveryStore

__all__ = ["ClaimKeeper", "HeldClaims"]

logger = logging.getLogger(__name__)


class HeldClaims:
    """The reports that a run has claimed and has yet to dispatch."""

    def __init__(
        self,
        store: DeliveryStore,
        claim: str,
        reports: Iterable[DeliveryReport],
        *,
        fresh_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._claim = claim
        self._fresh_seconds = fresh_seconds
        self._monotonic = monotonic
        self._reports = {(report.message_id, report.key): report for report in reports}
        # They have just been recorded.
        self._renewed_at = monotonic()
        self._lock = threading.Lock()

    def holds(self, report: DeliveryReport) -> bool:
        """Whether the report is still this run's, so that its handlers may begin.

        False where this process has stood still for so long that another run has taken the report over. Raises
        `StoreError` where that cannot be found out.
        """
        if self._monotonic() - self._renewed_at > self._fresh_seconds:
            self.renew()
        with self._lock:
            return (report.message_id, report.key) in self._reports

    def let_go(self, report: DeliveryReport) -> None:
        """The report has been dispatched: its claim needs no renewal."""
        with self._lock:
            self._reports.pop((report.message_id, report.key), None)

    def renew(self) -> None:
        """Renew all claims, and forget the reports that others have by now. Raises `StoreError`."""
        with self._lock:
            reports = list(self._reports.values())
        begun_at = self._monotonic()
        answers = self._store.record(reports, claim=self._claim)
        lost = [each.report for each in answers if not each.verdict.is_dispatched_here]
        for report in lost:
            self.let_go(report)
        self._renewed_at = begun_at


class ClaimKeeper:
    """Renews claims in the background: one thread for all runs of a process, which ends when there is none.

    Celery's timers are of no use: they are not in the processes of a pool. With gevent or eventlet the thread is a
    greenlet, and renews whenever a handler waits for something.
    """

    def __init__(
        self,
        store: DeliveryStore,
        *,
        claim_seconds: float = CLAIM_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._every_seconds = claim_seconds / 3
        self._held: list[HeldClaims] = []
        self._lock = threading.Lock()
        self._is_running = False

    @contextmanager
    def keeping(self, claim: str, reports: Iterable[DeliveryReport]) -> Iterator[HeldClaims]:
        """Keep the claims on these reports, which have just been recorded, for the length of the block."""
        fresh_seconds = 2 * self._every_seconds
        held = HeldClaims(self._store, claim, reports, fresh_seconds=fresh_seconds, monotonic=self._monotonic)
        with self._lock:
            self._held.append(held)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="celery-mailproxy-claims", daemon=True).start()
        try:
            yield held
        finally:
            with self._lock:
                self._held.remove(held)

    def _run(self) -> None:
        while True:
            time.sleep(self._every_seconds)
            with self._lock:
                if not self._held:
                    self._is_running = False
                    return
                held = list(self._held)
            for each in held:
                try:
                    each.renew()
                except Exception as exc:
                    # The next one may do better; and who begins with a report asks first whether it still holds it.
                    logger.warning("claims on reports could not be renewed: %s", exc)
