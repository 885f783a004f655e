"""`Notifier`: all that happens for one report: the result, callbacks, signals, a Celery event."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery

from ..deliveries.delivery import Delivery
from ..deliveries.recording import Dispatched, Recorded
from ..deliveries.report import DeliveryReport, Kind
from ..errors import visible
from .callbacks import CallbackPublisher
from .healing import HealingRequests
from .resumer import Resumer
from .signals import signals_of
from .suppression import SuppressionNotes

__all__ = ["Notifier"]

logger = logging.getLogger(__name__)


class Notifier:
    """Notifies an application of single reports.

    `emit` sends a Celery event, `(type, fields) -> None`, and never raises; None to send none. `resumer` completes the
    results of tasks that wait for their mail. `suppression` puts addresses on the suppression list, `healing` has mails
    healed that the proxy damages.
    """

    def __init__(
        self,
        *,
        app: Celery,
        emit: Callable[[str, Mapping[str, Any]], None] | None = None,
        resumer: Resumer | None = None,
        suppression: SuppressionNotes | None = None,
        healing: HealingRequests | None = None,
    ) -> None:
        self._app = app
        self._emit = emit
        self._resumer = resumer
        self._suppression = suppression
        self._healing = healing
        self._callbacks = CallbackPublisher(app)

    @property
    def heals(self) -> bool:
        """Whether mails are healed that the proxy has lost."""
        return self._healing is not None

    def has_listeners(self, recorded: Recorded) -> bool:
        """Whether anybody listens to the report: then it must not be dispatched twice."""
        report, delivery = recorded.report, _known(recorded)
        if delivery is not None and delivery.members:
            return False
        has_handlers = any(signal.has_listeners(self._app) for signal in signals_of(report.kind))
        return has_handlers or self._callbacks.has_callbacks(report, delivery)

    def notify(self, recorded: Recorded, *, is_heard: bool) -> Dispatched:
        """Dispatch one report; `is_heard` is what `has_listeners` says. Raises `StoreError` and `OperationalError`."""
        report, delivery = recorded.report, _known(recorded)
        # These before all else: they may fail with store or broker, and can be done twice without harm.
        if self._suppression is not None:
            self._suppression.note(report, delivery)
        if self._healing is not None:
            self._healing.ask(report, delivery)
        is_resumed = self._resume(report, delivery)
        if delivery is not None and delivery.members:
            # It is no mail: the application is notified of each member.
            return Dispatched(message_id=report.message_id, key=report.key, is_resumed=is_resumed)
        failed = self.call(report, delivery) if is_heard else []
        self.send_event(report, delivery)
        if failed:
            logger.error(
                "message %s: %s of its %s report failed. Fix it, then run: celery mailproxy replay %s",
                visible(report.message_id),
                ", ".join(failed),
                report.kind,
                visible(report.message_id),
            )
        return Dispatched(message_id=report.message_id, key=report.key, failed=tuple(failed), is_resumed=is_resumed)

    def notify_again(self, recorded: Recorded) -> None:
        """Do what a report asks for that has been dispatched before. Raises kombu's `OperationalError`."""
        if self._healing is not None:
            self._healing.ask_again(recorded.report, _known(recorded))

    def call(
        self, report: DeliveryReport, delivery: Delivery | None, *, only: frozenset[str] | None = None
    ) -> list[str]:
        """Publish the callbacks and call the handlers, with `only` those named so; the names of those that failed."""
        # Callbacks first: they may fail with the broker, and can be published twice without harm (same task id).
        failed = self._callbacks.publish(report, delivery, only=only)
        for signal in signals_of(report.kind):
            failed += signal.notify(self._app, only=only, report=report, delivery=delivery)
        return failed

    def send_event(self, report: DeliveryReport, delivery: Delivery | None) -> None:
        """Send the report's Celery event."""
        if self._emit is None:
            return
        fields = {
            "message_id": report.message_id,
            "kind": report.kind.value,
            "at": report.at.timestamp(),
            "via": report.via,
            "task_id": delivery.task_id if delivery else None,
            "status": delivery.status.value if delivery else None,
            **(delivery.labels if delivery else {}),
        }
        self._emit(f"mail-{report.kind}", fields)

    def _resume(self, report: DeliveryReport, delivery: Delivery | None) -> bool:
        """Let a suspended result know; whether its task's message has been published."""
        if self._resumer is None or delivery is None or delivery.suspension is None:
            return False
        if delivery.is_ended:
            return self._resumer.resume(delivery)
        if report.kind is Kind.DEFERRED:
            self._resumer.write_state(delivery, "DEFERRED", report)
        return False


def _known(recorded: Recorded) -> Delivery | None:
    """The delivery, where the mail is one of this application's."""
    return recorded.delivery if recorded.delivery is not None and recorded.delivery.is_known else None
