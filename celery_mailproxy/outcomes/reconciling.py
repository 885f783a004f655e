"""`reconcile`: asks the proxies for mails that they have not reported on in time, and acts on the answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from ..deliveries.delivery import Delivery
from ..deliveries.losses import has_been_lost
from ..deliveries.report import DeliveryReport, Kind, utcnow
from ..deliveries.stores.base import DeliveryStore, Retention
from ..dispatch.healing import healing_requests_of
from ..dispatch.recorder import OutcomeRecorder, recorder_of
from ..errors import redact, visible
from ..proxy.api import SubmitAnswer
from ..runtime import Runtime
from ..tasks.sending.outgoing import Outgoing
from ..tasks.sending.submitter import submitter_of
from .asking import Asked, Asker
from .resubmitting import kept_content
from .tally import Tally
from .withdrawing import Withdrawer

__all__ = ["UNKNOWN", "Reconciler", "reconcile", "reconciler_of"]

logger = logging.getLogger(__name__)

#: Why a mail is given up that the proxy has lost.
UNKNOWN = "unknown to the proxy"

#: How many mails are looked at before others get their turn.
_PAGE = 500

#: How long at most until a proxy is asked again that could not be asked.
_LONGEST_PAUSE = timedelta(minutes=5)

#: Next tries are rounded up to this many seconds: those of one moment are put off together.
_ROUNDED_SECONDS = 60

#: Why a mail ends that the proxy had yet to send, and how soon one is looked at again that it may be sending.
_EXPIRED = "it expired before it was sent, and was taken out of the proxy's queue"
_EXPIRED_PAUSE = timedelta(minutes=1)

#: Who asks holds this lease: a mail that the proxy has lost must not be submitted by two at once.
_LEASE = "reconcile"
_LEASE_SECONDS = 120.0


class Reconciler:
    """Looks at mails that are due (see `DeliveryStore.due`).

    `content_of` gives the content of a mail where it is at hand, and `resubmit` submits it. Where `asks` is False
    (`mail_proxy_reports = "push"`) only mails are looked at that must not be sent any more.
    """

    def __init__(
        self,
        *,
        store: DeliveryStore,
        retention: Retention,
        asker: Asker,
        recorder: OutcomeRecorder,
        withdrawer: Withdrawer,
        content_of: Callable[[Delivery], Outgoing | None],
        resubmit: Callable[[Outgoing, Delivery], SubmitAnswer],
        heal: Callable[[str], None] | None = None,
        asks: bool = True,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._store = store
        self._overdue = timedelta(seconds=retention.overdue_seconds)
        self._retention = retention
        self._asker = asker
        self._recorder = recorder
        self._withdrawer = withdrawer
        self._content_of = content_of
        self._resubmit = resubmit
        self._heal = heal
        self._asks = asks
        self._clock = clock

    def run(
        self, go_on: Callable[[], bool] = lambda: True, *, on_page: Callable[[Tally], None] = lambda tally: None
    ) -> Tally | None:
        """Look at all that is due now; None where another one is at it.

        Between pages `go_on` says whether there is time for the next, and `on_page` learns how far it is. Raises
        `StoreError` and kombu's `OperationalError`; what is left over is found by the next run.
        """
        holder = uuid4().hex
        if not self._store.take_lease(_LEASE, holder, seconds=_LEASE_SECONDS):
            return None
        try:
            return self._run(go_on, on_page, holder)
        finally:
            self._store.take_lease(_LEASE, holder, seconds=0)

    def _run(self, go_on: Callable[[], bool], on_page: Callable[[Tally], None], holder: str) -> Tally:
        now = self._clock()
        tally = Tally()
        while go_on() and self._store.take_lease(_LEASE, holder, seconds=_LEASE_SECONDS):
            page = self._store.due(now=now, limit=_PAGE)
            tally += self._look_at(page)
            on_page(tally)
            if len(page) < _PAGE:
                break
        if tally.looked_at:
            logger.info(
                "the proxy was asked for %d emails: %d sent, %d error, %d expired, %d submitted again, %d unknown, "
                "%d still open, %d without an answer",
                *(tally.looked_at, tally.sent, tally.error, tally.expired, tally.resubmitted, tally.unknown),
                *(tally.open, tally.unanswered),
            )
        return tally

    def _look_at(self, page: Sequence[Delivery]) -> Tally:
        now = self._clock()
        if not self._asks:
            others = [each for each in page if not _has_expired(each, now)]
            self._put_off(others, now + self._overdue)
            page = [each for each in page if _has_expired(each, now)]
        asked = self._asker.ask(page)
        now = self._clock()
        withdrawn = self._withdraw(asked, now)
        waiting = [
            each
            for each in asked
            if (each.is_pending or each.is_hopeless) and each.delivery.message_id not in withdrawn
        ]
        self._wait_for(waiting, now)
        tally = Tally(looked_at=len(asked), expired=len(withdrawn), open=sum(each.is_pending for each in waiting))
        tally += self._record_ends(asked, now)
        tally += self._restore([each.delivery for each in asked if each.is_absent], now)
        return tally + self._note_failed(asked, now)

    def _note_failed(self, asked: Sequence[Asked], now: datetime) -> Tally:
        failed = [each for each in asked if each.problem is not None and not each.is_hopeless]
        if failed:
            problem = redact(str(failed[0].problem))
            logger.warning("the proxy cannot be asked for %d emails without a report: %s", len(failed), problem)
            self._put_off([each.delivery for each in failed], now + min(self._overdue / 2, _LONGEST_PAUSE))
        return Tally(unanswered=sum(each.problem is not None for each in asked))

    def _withdraw(self, asked: Sequence[Asked], now: datetime) -> set[str]:
        """Take those out of the proxies' queues that must not be sent any more; the ids of those that have ended so."""
        expired = [each for each in asked if each.is_pending and _has_expired(each.delivery, now)]
        gone = self._withdrawer.withdraw(expired, now=now)
        self._recorder.record([_end(Kind.EXPIRED, each, _EXPIRED, now) for each in gone])
        return {each.message_id for each in gone}

    def _record_ends(self, asked: Sequence[Asked], now: datetime) -> Tally:
        ends = [end for each in asked if each.held is not None and (end := each.held.report(now=now)) is not None]
        self._recorder.record(ends)
        sent = sum(each.kind is Kind.SENT for each in ends)
        return Tally(sent=sent, error=len(ends) - sent)

    def _wait_for(self, waiting: Sequence[Asked], now: datetime) -> None:
        """Look at these again later; the application learns once of each that has been silent for too long."""
        overdue: list[DeliveryReport] = []
        later: dict[datetime, list[Delivery]] = {}
        for each in waiting:
            next_try_at = each.held.next_try_at if each.held is not None else None
            is_its_turn = next_try_at is None or next_try_at + self._overdue <= now
            if is_its_turn and self._is_overdue(each.delivery, now):
                reason = each.problem or "the proxy still has it, and has not sent it"
                overdue.append(_end(Kind.OVERDUE, each.delivery, reason, now))
            if _has_expired(each.delivery, now):
                until = now + _EXPIRED_PAUSE
            else:
                until = max(now, now if next_try_at is None else _rounded_up(next_try_at)) + self._overdue
            later.setdefault(until, []).append(each.delivery)
        self._recorder.record(overdue)
        for until, deliveries in later.items():
            self._put_off(deliveries, until)

    def _restore(self, absent: Sequence[Delivery], now: datetime) -> Tally:
        """Submit those again that the proxy has lost, where they can be, and give the others up."""
        tally = Tally()
        # A report may have come meanwhile, or the mail may have been submitted just now.
        current = self._store.get_many([each.message_id for each in absent])
        lost = [each for each in current if each is not None and self._is_overdue(each, now)]
        self._put_off([each for each in current if each is not None and each not in lost], now + self._overdue)
        ends: list[DeliveryReport] = []
        for delivery in lost:
            if self._heal is not None and has_been_lost(delivery):
                # A spare of it is there, from which it is healed: see `tasks.healing`.
                self._put_off([delivery], now + self._overdue)
                self._heal(delivery.message_id)
                tally += Tally(open=1)
                continue
            content = None if _has_expired(delivery, now) else self._content_of(delivery)
            if content is None:
                logger.error("message %s is given up: %s", visible(delivery.message_id), UNKNOWN)
                ends.append(_end(Kind.ERROR, delivery, UNKNOWN, now))
                tally += Tally(unknown=1)
            else:
                tally += self._submit(content, delivery, ends, now)
        self._recorder.record(ends)
        return tally + Tally(open=len(absent) - len(lost))

    def _submit(self, content: Outgoing, delivery: Delivery, ends: list[DeliveryReport], now: datetime) -> Tally:
        # First: whoever asks next must not submit it, too.
        self._put_off([delivery], now + self._overdue)
        message_id = delivery.message_id
        answer = self._resubmit(content, delivery)
        if message_id in answer.accepted:
            logger.warning("message %s: the proxy had lost it, and has it again", visible(message_id))
            return Tally(resubmitted=1)
        if message_id in answer.unsettled:
            return Tally(unanswered=1)
        kind = answer.kinds.get(message_id, Kind.ERROR)
        reason = answer.rejected.get(message_id) or str(answer.failed.get(message_id) or "")
        ends.append(_end(kind, delivery, f"{UNKNOWN}, and not taken again: {reason}", now))
        return Tally(unknown=1)

    def _is_overdue(self, delivery: Delivery, now: datetime) -> bool:
        overdue_at = self._retention.overdue_at(delivery)
        return overdue_at is not None and overdue_at <= now

    def _put_off(self, deliveries: Sequence[Delivery], until: datetime) -> None:
        if deliveries:
            self._store.put_off([each.message_id for each in deliveries], until=until)


def _has_expired(delivery: Delivery, now: datetime) -> bool:
    return delivery.expires_at is not None and delivery.expires_at <= now


def _end(kind: Kind, delivery: Delivery, reason: str, now: datetime) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=delivery.message_id, at=now, reason=reason)


def _rounded_up(moment: datetime) -> datetime:
    return moment + timedelta(seconds=-int(moment.timestamp()) % _ROUNDED_SECONDS)


def reconcile(
    runtime: Runtime,
    go_on: Callable[[], bool] = lambda: True,
    *,
    on_page: Callable[[Tally], None] = lambda tally: None,
) -> Tally | None:
    """See `Reconciler.run`."""
    return reconciler_of(runtime).run(go_on, on_page=on_page)


def reconciler_of(runtime: Runtime) -> Reconciler:
    """The app's reconciler in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Reconciler:
    asker, healing = Asker(runtime.client), healing_requests_of(runtime)
    return Reconciler(
        store=runtime.store,
        retention=runtime.retention,
        asker=asker,
        recorder=recorder_of(runtime),
        withdrawer=Withdrawer(asker=asker, client_for=runtime.client),
        content_of=lambda delivery: kept_content(runtime, delivery),
        resubmit=submitter_of(runtime).submit_again,
        heal=healing.ask_for if healing is not None else None,
        asks=runtime.settings.reports != "push",
    )
