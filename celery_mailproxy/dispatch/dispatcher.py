"""Dispatch: from reports to the store, and for each one that is news to callbacks, signals and events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from celery import Celery
from kombu.exceptions import OperationalError

from ..deliveries.delivery import failed_entries, is_undispatched
from ..deliveries.recording import CLAIM_SECONDS, Dispatched, Recorded, Verdict
from ..deliveries.report import DeliveryReport, Kind
from ..deliveries.stores.base import Advanced, DeliveryStore, Recording
from ..deliveries.stores.damage import note_damaged
from ..errors import DamagedRecord, DispatchError, StoreError, redact, visible
from ..runtime import Runtime
from .claims import ClaimKeeper
from .counters import Counters, counters_of
from .events import events_of
from .handing_over import HandOver, Left
from .healing import healing_requests_of, losses_as_deferrals
from .intake import in_order, log_passed_over
from .joining import Joiner
from .notifying import Notifier
from .postponing import Postponer, postponer_of
from .resumer import resumer_of
from .run import RUN_SECONDS, Run
from .signals import mail_queued
from .suppression import SuppressionNotes

__all__ = ["Dispatcher", "dispatcher_of"]

logger = logging.getLogger(__name__)


class Dispatcher:
    """Notifies an application of delivery reports, each once.

    `notifier` does so for one report. `postponer` publishes what is left to another task; without it, and in Celery's
    eager mode, that is raised as an error. `counters` counts what is dispatched. Where `notifier` has mails healed, one
    that the proxy has lost is deferred, and has not ended.
    """

    def __init__(
        self,
        *,
        app: Celery,
        store: DeliveryStore,
        notifier: Notifier,
        postponer: Postponer | None = None,
        counters: Counters | None = None,
        claim_seconds: float = CLAIM_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._store = store
        self._notifier = notifier
        self._counters = counters
        self._joiner = Joiner(store)
        self._keeper = ClaimKeeper(store, claim_seconds=claim_seconds, monotonic=monotonic)
        self._monotonic = monotonic
        self._hand_over = HandOver(app=app, store=store, postponer=postponer, claim_seconds=claim_seconds)

    def dispatch(
        self,
        reports: Sequence[DeliveryReport],
        *,
        run: Run | None = None,
        adopt: bool = False,
        only_new: bool = False,
    ) -> list[DeliveryReport]:
        """Record the reports, and dispatch those that are new; the answer is those of unknown messages.

        With `adopt` reports of unknown messages are dispatched too, with `delivery=None`; with `only_new` messages of
        which anything has been heard are passed over. What another run is dispatching just now, what there is no time
        left for, and what met an unforeseen error is left to a dispatch task of its own; so is the note of what was
        dispatched, where the store fails just then. Raises `StoreError` when the store, and kombu's `OperationalError`
        when the broker fails; `DispatchError` where something is left that cannot be handed over (see `Run`). What has
        been dispatched by then is not dispatched again.
        """
        run = run or Run()
        if self._notifier.heals:
            reports = losses_as_deferrals(self._store, reports)
        # `queued` has no callbacks: where no handler is connected either, there is nothing to mark later.
        is_settled = self._is_silent_about_queued and all(r.kind is Kind.QUEUED for r in reports)
        how = Recording(adopt=adopt, is_settled=is_settled, only_new=only_new, after=run.after)
        answers = self._store.record(in_order(reports), claim=run.claim, how=how)
        self._dispatch_recorded(answers, run, is_settled=is_settled)
        return [each.report for each in answers if each.verdict is Verdict.UNKNOWN]

    def _dispatch_recorded(self, answers: Sequence[Recorded], run: Run, *, is_settled: bool) -> None:
        for recorded in answers:
            log_passed_over(recorded)
        left = Left(held=[each for each in answers if each.verdict is Verdict.HELD])
        news = [each for each in answers if each.verdict.is_dispatched_here]
        try:
            for recorded in answers:
                if recorded.verdict is Verdict.DUPLICATE:
                    self._notifier.notify_again(recorded)
            # Before anything is marked as dispatched: what dies in between comes again, and looks again.
            unjoined = self._join(self._joiner.parents_of(answers), run, left)
            joined = [each for each in news if _parent_id(each) not in unjoined]
            self._notify_all(joined, run, left, is_settled=is_settled)
            if left:
                self._hand_over.leave(left, run)
        except Exception:
            if not self._hand_over.is_possible_for(run):
                # Whoever gets them next need not wait until the claims are stale.
                self._hand_over.let_go([each.report for each in news], run, left)
            raise

    def confirm(self, report: DeliveryReport, *, token: str) -> Advanced | None:
        """Record a `queued` report and suspend its task's result, on one trip to the store.

        None where a handler is connected: then `dispatch` does it. Raises `StoreError`.
        """
        if not self._is_silent_about_queued:
            return None
        moved = self._store.record_submitted(report, claim=token)
        self._notifier.send_event(report, moved.delivery)
        return moved

    def join(self, parent_ids: Iterable[str]) -> None:
        """End those parents whose members have all ended (see `joining`). May be called any number of times.

        Raises as `dispatch` does.
        """
        left = Left()
        self._join(parent_ids, Run(), left)
        if left.problem is not None:
            raise left.problem

    def mark(self, dispatched: Sequence[Dispatched]) -> None:
        """Note what a run has dispatched while the store was away. Raises `StoreError`."""
        if dispatched:
            self._store.mark_dispatched(dispatched)

    def replay(self, message_id: str) -> tuple[int, int]:
        """Run the failed handlers of a message again; how many succeeded, and how many failed once more."""
        delivery = self._store.get(message_id)
        if delivery is None:
            return 0, 0
        succeeded = failed_again = 0
        for entry in list(failed_entries(delivery)):
            known = delivery if delivery.is_known else None
            failed = self._notifier.call(entry.report, known, only=frozenset(entry.failed))
            succeeded += len(entry.failed) - len(failed)
            failed_again += len(failed)
            self._store.mark_dispatched([Dispatched(message_id=message_id, key=entry.report.key, failed=tuple(failed))])
        return succeeded, failed_again

    @property
    def _is_silent_about_queued(self) -> bool:
        return not mail_queued.has_listeners(self._app)

    def _join(self, parent_ids: Iterable[str], run: Run, left: Left) -> set[str]:
        """End those parents whose members have all ended; those that could not be for an error of their own."""
        unjoined: set[str] = set()
        for parent_id in parent_ids:
            try:
                if (report := self._joiner.report_of(parent_id)) is not None:
                    self.dispatch([report], run=run)
            except DispatchError as exc:
                unjoined.add(parent_id)
                left.problem = exc
            except DamagedRecord as exc:
                # Its members are notified all the same.
                note_damaged(self._store, {parent_id: exc.problem})
        return unjoined

    def _notify_all(self, news: Sequence[Recorded], run: Run, left: Left, *, is_settled: bool) -> None:
        """Dispatch these reports; what cannot be now is put into `left`."""
        heard: list[Recorded] = []
        unheard: list[Recorded] = []
        for each in news:
            (heard if self._notifier.has_listeners(each) else unheard).append(each)
        done: list[Recorded] = []
        try:
            self._notify_unheard(unheard, left, done, is_settled=is_settled)
            if heard:
                self._notify_heard(heard, run, left, done)
        finally:
            if self._counters is not None:
                # A parent is no mail: its members are counted.
                self._counters.reports(r.report for r in done if r.delivery is None or not r.delivery.members)

    def _notify_unheard(self, news: Sequence[Recorded], left: Left, done: list[Recorded], *, is_settled: bool) -> None:
        """Dispatch what nobody listens to. It can be repeated without harm, so it is marked together."""
        unmarked: list[Dispatched] = []
        try:
            for recorded in news:
                dispatched = self._notify(recorded, left, is_heard=False)
                if dispatched is None:
                    continue
                done.append(recorded)
                if dispatched.is_resumed or not is_settled or not _is_settled(recorded):
                    unmarked.append(dispatched)
        finally:
            if unmarked:
                self._store.mark_dispatched(unmarked)

    def _notify_heard(self, news: Sequence[Recorded], run: Run, left: Left, done: list[Recorded]) -> None:
        """Dispatch what somebody listens to, one by one: a crash in the next report must not repeat this one."""
        if len(news) > 1 and run.hands_over:
            # What a run died with may kill this one, too: each gets a task of its own, and costs no other.
            left.apart = [each.report for each in news if each.verdict is Verdict.AGAIN]
            news = [each for each in news if each.verdict is not Verdict.AGAIN]
        deadline = self._monotonic() + RUN_SECONDS
        with self._keeper.keeping(run.claim, [each.report for each in news]) as held:
            for position, recorded in enumerate(news):
                try:
                    if position and self._monotonic() > deadline:
                        left.rest = [each.report for each in news[position:]]
                        return
                    if not held.holds(recorded.report):
                        continue
                except StoreError as exc:
                    left.rest, left.problem = [each.report for each in news[position:]], exc
                    return
                if (dispatched := self._notify(recorded, left, is_heard=True)) is None:
                    continue
                done.append(recorded)
                held.let_go(recorded.report)
                try:
                    self._store.mark_dispatched([dispatched])
                except Exception as exc:
                    # Whatever it is, a time limit too: the handlers have run, and must not run again because of it.
                    left.unmarked, left.problem = [dispatched], exc
                    left.rest = [each.report for each in news[position + 1 :]]
                    return

    def _notify(self, recorded: Recorded, left: Left, *, is_heard: bool) -> Dispatched | None:
        try:
            return self._notifier.notify(recorded, is_heard=is_heard)
        except Exception as exc:
            if isinstance(exc, StoreError | OperationalError) and not isinstance(exc, DamagedRecord):
                raise
            report = recorded.report
            # Not the traceback: it may quote what an address stands in.
            message_id, problem = visible(report.message_id), redact(repr(exc))
            logger.error("message %s: its %s report was not dispatched: %s", message_id, report.kind, problem)
            left.failed.append(report)
            left.problem = exc
            return None


def _parent_id(recorded: Recorded) -> str | None:
    return recorded.delivery.parent_id if recorded.delivery is not None else None


def _is_settled(recorded: Recorded) -> bool:
    """Whether the report counted as dispatched at once when it was recorded."""
    history = recorded.delivery.history if recorded.delivery is not None else ()
    return not any(entry.report.key == recorded.report.key and is_undispatched(entry) for entry in history)


def dispatcher_of(runtime: Runtime) -> Dispatcher:
    """The app's dispatcher in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Dispatcher:
    notifier = Notifier(
        app=runtime.app,
        emit=events_of(runtime).emit,
        resumer=resumer_of(runtime),
        suppression=SuppressionNotes(runtime.store.suppression) if runtime.settings.suppression else None,
        healing=healing_requests_of(runtime),
    )
    return Dispatcher(
        app=runtime.app,
        store=runtime.store,
        notifier=notifier,
        postponer=postponer_of(runtime),
        counters=counters_of(runtime) if runtime.settings.migration is not None else None,
        claim_seconds=runtime.retention.claim_seconds,
    )
