"""`HealingRequests`: asks for the healing of mails that the proxy damages, and reports what it lost as deferred.

Dispatching does no more than that: it waits for no proxy, and a mail that cannot be healed now costs no other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from celery import Celery

from ..broker.producers import Producers
from ..conf import task_names
from ..deliveries.delivery import Delivery
from ..deliveries.losses import as_deferral, is_loss, is_lost, may_be_nested
from ..deliveries.report import DeliveryReport
from ..deliveries.stores.base import DeliveryStore
from ..errors import redact, visible
from ..runtime import Runtime

__all__ = ["HealingRequests", "healing_requests_of", "losses_as_deferrals"]

logger = logging.getLogger(__name__)


def losses_as_deferrals(store: DeliveryStore, reports: Sequence[DeliveryReport]) -> Sequence[DeliveryReport]:
    """The reports, with those of a lost mail as what they come to: it is given to the proxy again, and has to wait.

    Only of an open mail of this application's own: nobody heals that of others. Asks the store only where the proxy has
    lost one. Raises `StoreError`.
    """
    lost = list(dict.fromkeys(report.message_id for report in reports if is_loss(report)))
    if not lost:
        return reports
    found = dict(zip(lost, store.get_many(lost), strict=True))

    def is_healed(report: DeliveryReport) -> bool:
        delivery = found.get(report.message_id)
        return is_loss(report) and delivery is not None and delivery.is_known and not delivery.is_ended

    return [as_deferral(report) if is_healed(report) else report for report in reports]


class HealingRequests:
    """Publishes a task for each mail that may have to be healed: see `tasks.healing`."""

    def __init__(self, *, app: Celery, producers: Producers) -> None:
        self._app = app
        self._producers = producers

    def ask_again(self, report: DeliveryReport, delivery: Delivery | None) -> None:
        """`ask` of a report that has been dispatched before, where it is still true: the task may have been lost."""
        if delivery is not None and is_lost(delivery):
            self.ask(report, delivery)

    def ask(self, report: DeliveryReport, delivery: Delivery | None) -> None:
        """Have the mail healed, if the report is of one that may need it. May be asked twice without harm.

        Returns once the broker has it. Raises kombu's `OperationalError`.
        """
        if delivery is not None and not delivery.is_ended and not delivery.members and may_be_nested(report):
            self.ask_for(report.message_id)

    def ask_for(self, message_id: str) -> None:
        """Publish the task that looks whether this mail has to be healed. Raises kombu's `OperationalError`."""
        task = self._app.signature(task_names.HEAL)
        options: dict[str, Any] = {"add_to_parent": False, **self._producers.brief}
        if not self._app.conf.task_always_eager:
            with self._producers.acquire() as producer:
                task.apply_async((message_id,), producer=producer, **options)
            return
        try:
            # Celery's eager mode has no broker: the task runs right here.
            task.apply_async((message_id,), **options)
        except Exception as exc:
            # Nobody tries it again there, and the report is dispatched all the same.
            logger.warning("message %s is not healed: %s", visible(message_id), redact(repr(exc)))


def healing_requests_of(runtime: Runtime) -> HealingRequests | None:
    """The app's requests in this process; None with `mail_proxy_heal = False`."""
    return runtime.part(_build) if runtime.settings.heal else None


def _build(runtime: Runtime) -> HealingRequests:
    return HealingRequests(app=runtime.app, producers=runtime.producers)
