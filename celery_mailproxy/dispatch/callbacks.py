"""`on_sent`, `on_error`, `on_deferred`, `on_bounced`: a report publishes the callbacks that its delivery keeps."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from celery import Celery, signature
from kombu.exceptions import OperationalError

from ..deliveries.delivery import Delivery, callback_name
from ..deliveries.report import DeliveryReport, Kind
from ..errors import redact, visible
from ..runtime import get_runtime

__all__ = ["CallbackPublisher", "callback_task_id"]

logger = logging.getLogger(__name__)

#: kind of report → the outcome under which a delivery keeps its callbacks.
_OUTCOMES: Mapping[Kind, str] = {
    Kind.SENT: "sent",
    Kind.ERROR: "error",
    Kind.REJECTED: "error",
    Kind.EXPIRED: "error",
    Kind.SUPPRESSED: "error",
    Kind.DEFERRED: "deferred",
    Kind.BOUNCED: "bounced",
}

#: The root of the ids of callback tasks. Changing it makes duplicates of running campaigns unrecognisable.
_NAMESPACE = uuid.UUID("3f0c39b6-6fd5-5d4a-9a3c-5e8a1c0f6f53")


def callback_task_id(report: DeliveryReport, index: int = 0) -> str:
    """The id of the `index`-th callback task of a report: the same report always gives the same id."""
    return str(uuid.uuid5(_NAMESPACE, f"{report.message_id}/{report.key}/{index}"))


class CallbackPublisher:
    """Publishes the callbacks of reports."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def has_callbacks(self, report: DeliveryReport, delivery: Delivery | None) -> bool:
        """Whether the delivery keeps a callback for a report of that kind."""
        return any(_callbacks(report, delivery))

    def publish(
        self, report: DeliveryReport, delivery: Delivery | None, *, only: Collection[str] | None = None
    ) -> list[str]:
        """Publish the report's callbacks, with `only` those named so; the names of those that could not be.

        Raises kombu's `OperationalError` where the broker fails.
        """
        failed = []
        for index, callback in enumerate(_callbacks(report, delivery)):
            name = callback_name(_OUTCOMES[report.kind], index, callback)
            # An empty one has been erased; the others keep their numbers.
            if not callback or (only is not None and name not in only):
                continue
            try:
                self._publish(callback, report, delivery, index)
            except OperationalError:
                raise
            except Exception as exc:
                logger.error("callback %s of message %s: %s", name, visible(report.message_id), redact(repr(exc)))
                failed.append(name)
        return failed

    def _publish(
        self, callback: Mapping[str, Any], report: DeliveryReport, delivery: Delivery | None, index: int
    ) -> None:
        task_id = delivery.task_id if delivery else None
        parents = {"root_id": task_id, "parent_id": task_id} if task_id else {}
        # Not by a producer: a callback that is a chain passes none on.
        get_runtime(self._app).producers.confirm_all()
        signature(dict(callback), app=self._app).apply_async(
            ({**report.to_json(), **(delivery.labels if delivery else {})},),
            task_id=callback_task_id(report, index),
            # Celery logs the arguments' repr at debug level, and a reason may quote an address.
            argsrepr=f"(<report {report.kind} of {report.message_id}>,)",
            add_to_parent=False,
            **parents,
        )


def _callbacks(report: DeliveryReport, delivery: Delivery | None) -> Sequence[Mapping[str, Any]]:
    return delivery.callbacks.get(_OUTCOMES.get(report.kind, ""), ()) if delivery else ()
