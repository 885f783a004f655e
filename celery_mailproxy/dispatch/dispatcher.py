"""Dispatch: from reports to the store, and for each one that is news to callbacks, signals and events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from ..deliveries.delivery import Delivery, failed_entries
from ..deliveries.recording import Dispatched, Recorded, Verdict
from ..deliveries.report import DeliveryReport, Kind
from ..deliveries.stores.base import Advanced, DeliveryStore, Recording
from ..errors import DispatchError, StoreError, redact, visible
from ..runtime import Runtime
from .callbacks import CallbackPublisher
from .counters import Counters, counters_of
from .events import events_of
from .joining import Joiner
from .resumer import Resumer, resumer_of
from .signals import mail_queued, signals_of

__all__ = ["Dispatcher", "dispatcher_of"]

logger = logging.getLogger(__name__)

#: Reports of one moment are dispatched in this order: what the proxy did first comes first.
_ORDER: Mapping[Kind, int] = {kind: rank for rank, kind in enumerate(Kind)}


class Dispatcher:
    """Notifies an application of delivery reports, each once.

    `emit` sends a Celery event, `(type, fields) -> None`, and never raises; None to send none. `resumer` completes the
    results of tasks that wait for their mail. `counters` counts what is dispatched.
    """

    def __init__(
        self,
        *,
        app: Celery,
        store: DeliveryStore,
        emit: Callable[[str, Mapping[str, Any]], None] | None = None,
        resumer: Resumer | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._app = app
        self._store = store
        self._emit = emit
        self._resumer = resumer
        self._counters = counters
        self._joiner = Joiner(store)
        self._callbacks = CallbackPublisher(app)

    def dispatch(
        self, reports: Sequence[DeliveryReport], *, claim: str, adopt: bool = False, only_new: bool = False
    ) -> list[DeliveryReport]:
        """Record the reports, and dispatch those that are new; the answer is those of unknown messages.

        `claim` names who dispatches: the same claim may come again after a crash and goes on where it was. With
        `adopt` reports of unknown messages are dispatched too, with `delivery=None`; with `only_new` messages of which
        anything has been heard are passed over. Raises `StoreError` when the store, and kombu's `OperationalError`
        when the broker fails; `DispatchError` where single reports met another error. What has been dispatched by then
        is not dispatched again.
        """
        # `queued` has no callbacks: where no handler is connected either, there is nothing to mark later.
        is_settled = self._is_silent_about_queued and all(r.kind is Kind.QUEUED for r in reports)
        how = Recording(adopt=adopt, is_settled=is_settled, only_new=only_new)
        answers = self._store.record(_in_order(reports), claim=claim, how=how)
        # Before anything is marked as dispatched: what dies in between comes again, and looks again.
        unjoined, problem = self._join(self._joiner.parents_of(answers), claim=claim)
        for recorded in answers:
            if recorded.verdict not in (Verdict.NEW, Verdict.UNKNOWN):
                _log_passed_over(recorded)
        news = [each for each in answers if each.verdict is Verdict.NEW and _parent_id(each) not in unjoined]
        problem = self._notify_each(news, is_settled=is_settled) or problem
        if self._counters is not None:
            # A parent is no mail: its members are counted.
            self._counters.reports(r.report for r in news if r.delivery is None or not r.delivery.members)
        if problem is not None:
            raise DispatchError("some reports were not dispatched, and will be dispatched again") from problem
        return [each.report for each in answers if each.verdict is Verdict.UNKNOWN]

    def confirm(self, report: DeliveryReport, *, claim: str) -> Advanced | None:
        """Record a `queued` report and suspend its task's result, on one trip to the store.

        None where a handler is connected: then `dispatch` does it. Raises `StoreError`.
        """
        if not self._is_silent_about_queued:
            return None
        moved = self._store.record_submitted(report, claim=claim)
        self._send_event(report, moved.delivery)
        return moved

    def join(self, parent_ids: Iterable[str], *, claim: str) -> None:
        """End those parents whose members have all ended (see `joining`). May be called any number of times.

        Raises as `dispatch` does.
        """
        _, problem = self._join(parent_ids, claim=claim)
        if problem is not None:
            raise problem

    def _join(self, parent_ids: Iterable[str], *, claim: str) -> tuple[set[str], Exception | None]:
        """Those parents that could not be ended for an error of their own, and the last such error."""
        unjoined: set[str] = set()
        problem: Exception | None = None
        for parent_id in parent_ids:
            try:
                if (report := self._joiner.report_of(parent_id)) is not None:
                    self.dispatch([report], claim=claim)
            except DispatchError as exc:
                unjoined.add(parent_id)
                problem = exc
        return unjoined, problem

    def replay(self, message_id: str) -> tuple[int, int]:
        """Run the failed handlers of a message again; how many succeeded, and how many failed once more."""
        delivery = self._store.get(message_id)
        if delivery is None:
            return 0, 0
        succeeded = failed_again = 0
        for entry in list(failed_entries(delivery)):
            known = delivery if delivery.is_known else None
            failed = self._call(entry.report, known, only=frozenset(entry.failed))
            succeeded += len(entry.failed) - len(failed)
            failed_again += len(failed)
            self._store.mark_dispatched([Dispatched(message_id=message_id, key=entry.report.key, failed=tuple(failed))])
        return succeeded, failed_again

    @property
    def _is_silent_about_queued(self) -> bool:
        return not mail_queued.has_listeners(self._app)

    def _notify_each(self, news: Sequence[Recorded], *, is_settled: bool) -> Exception | None:
        """Dispatch these reports; the last error that kept one of them from being dispatched."""
        silent: list[Dispatched] = []
        problem: Exception | None = None
        try:
            for recorded in news:
                try:
                    dispatched, had_listeners = self._notify(recorded)
                except (StoreError, OperationalError):
                    raise
                except Exception as exc:
                    _log_undispatched(recorded.report, exc)
                    problem = exc
                    continue
                if had_listeners:
                    # At once, one by one: a crash in the next report must not repeat this one.
                    self._store.mark_dispatched([dispatched])
                elif dispatched.is_resumed or not is_settled:
                    silent.append(dispatched)
        finally:
            # These can be repeated without harm, so they are marked together.
            if silent:
                self._store.mark_dispatched(silent)
        return problem

    def _notify(self, recorded: Recorded) -> tuple[Dispatched, bool]:
        """Dispatch one report; and whether anybody listens to it."""
        report = recorded.report
        delivery = recorded.delivery if recorded.delivery and recorded.delivery.is_known else None
        # Before all else: it may fail with the broker, and can be done twice without harm.
        is_resumed = self._resume(report, delivery)
        if delivery is not None and delivery.members:
            # It is no mail: the application is notified of each member.
            return Dispatched(message_id=report.message_id, key=report.key, is_resumed=is_resumed), False
        has_callbacks = self._callbacks.has_callbacks(report, delivery)
        has_handlers = any(signal.has_listeners(self._app) for signal in signals_of(report.kind))
        failed = self._call(report, delivery) if has_callbacks or has_handlers else []
        self._send_event(report, delivery)
        if failed:
            logger.error(
                "message %s: %s of its %s report failed. Mend, then run: celery mailproxy replay %s",
                visible(report.message_id),
                ", ".join(failed),
                report.kind,
                visible(report.message_id),
            )
        dispatched = Dispatched(
            message_id=report.message_id, key=report.key, failed=tuple(failed), is_resumed=is_resumed
        )
        return dispatched, has_callbacks or has_handlers

    def _resume(self, report: DeliveryReport, delivery: Delivery | None) -> bool:
        """Let a suspended result know; whether its task's message has been published."""
        if self._resumer is None or delivery is None or delivery.suspension is None:
            return False
        if delivery.is_ended:
            return self._resumer.resume(delivery)
        if report.kind is Kind.DEFERRED:
            self._resumer.write_state(delivery, "DEFERRED", report)
        return False

    def _call(
        self, report: DeliveryReport, delivery: Delivery | None, *, only: frozenset[str] | None = None
    ) -> list[str]:
        # Callbacks first: they may fail with the broker, and can be published twice without harm (same task id).
        failed = self._callbacks.publish(report, delivery, only=only)
        for signal in signals_of(report.kind):
            failed += signal.notify(self._app, only=only, report=report, delivery=delivery)
        return failed

    def _send_event(self, report: DeliveryReport, delivery: Delivery | None) -> None:
        if self._emit is None:
            return
        fields = {
            "message_id": report.message_id,
            "kind": report.kind.value,
            "at": report.at.timestamp(),
            "via": report.via,
            "task_id": delivery.task_id if delivery else None,
            "status": delivery.status.value if delivery else None,
        }
        self._emit(f"mail-{report.kind}", fields)


def _in_order(reports: Iterable[DeliveryReport]) -> list[DeliveryReport]:
    """Oldest first, each once: a batch may be in any order and may hold a report twice."""
    distinct = {(report.message_id, report.key): report for report in reversed(list(reports))}
    return sorted(distinct.values(), key=lambda report: (report.at, _ORDER[report.kind]))


def _parent_id(recorded: Recorded) -> str | None:
    return recorded.delivery.parent_id if recorded.delivery is not None else None


def _log_undispatched(report: DeliveryReport, exc: Exception) -> None:
    # Not the traceback: it may quote what an address stands in.
    message_id = visible(report.message_id)
    logger.error("message %s: its %s report was not dispatched: %s", message_id, report.kind, redact(repr(exc)))


def _log_passed_over(recorded: Recorded) -> None:
    report = recorded.report
    # A mail that we had given up and that was sent all the same is worth a look, and so is another tenant's report.
    is_odd = recorded.verdict is Verdict.FOREIGN or (recorded.verdict is Verdict.STALE and report.kind is Kind.SENT)
    level = logging.WARNING if is_odd else logging.DEBUG
    delivery = recorded.delivery
    is_nobodys = recorded.verdict is Verdict.FOREIGN and delivery is not None and delivery.tenant_id is None
    hint = "; no tenant is known of this mail, set mail_proxy_tenant" if is_nobodys else ""
    logger.log(level, "message %s: %s report is %s%s", visible(report.message_id), report.kind, recorded.verdict, hint)


def dispatcher_of(runtime: Runtime) -> Dispatcher:
    """The app's dispatcher in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Dispatcher:
    return Dispatcher(
        app=runtime.app,
        store=runtime.store,
        emit=events_of(runtime).emit,
        resumer=resumer_of(runtime),
        counters=counters_of(runtime) if runtime.settings.migration is not None else None,
    )
