"""`Postponer`: hands reports to a dispatch task of their own, which comes back to them later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from celery import Celery

from ..broker.producers import Producers
from ..broker.quorum_queues import waiting_options
from ..conf import task_names
from ..deliveries.recording import Dispatched
from ..deliveries.report import DeliveryReport
from ..runtime import Runtime

__all__ = ["Postponer", "postponer_of"]


class Postponer:
    """Publishes dispatch tasks in the midst of dispatching."""

    def __init__(self, *, app: Celery, producers: Producers) -> None:
        self._app = app
        self._producers = producers

    def postpone(
        self,
        reports: Sequence[DeliveryReport],
        *,
        countdown: float = 0.0,
        tries: int = 0,
        after: str | None = None,
        dispatched: Sequence[Dispatched] = (),
        parked_seconds: float = 0.0,
    ) -> None:
        """Let a task dispatch these reports after so many seconds; the arguments are those of `dispatch_reports`.

        Returns once the broker has it. Raises kombu's `OperationalError`.
        """
        arguments: dict[str, Any] = {"parked_seconds": parked_seconds} if parked_seconds else {}
        if after is not None:
            arguments["after"] = after
        if dispatched:
            arguments["dispatched"] = [each.to_json() for each in dispatched]
        options: dict[str, Any] = {"retries": tries, "add_to_parent": False, **self._producers.brief}
        if countdown > 0:
            # Whole seconds: Celery's native delayed delivery refuses less than one.
            options |= waiting_options(self._app, {"routing_key": self._queue()}, math.ceil(countdown))
        # A report's reason may quote an address, and Celery logs and sends the arguments' repr.
        options["argsrepr"] = f"(<{len(reports)} reports>,)"
        content = [report.to_json() for report in reports]
        task = self._app.signature(task_names.DISPATCH)
        if self._app.conf.task_always_eager:
            # Celery's eager mode has no broker: the task runs right here.
            task.apply_async((content,), arguments, **options)
            return
        with self._producers.acquire() as producer:
            task.apply_async((content,), arguments, producer=producer, **options)

    def park(self, unknown: Sequence[DeliveryReport], parked_seconds: float, *, at_most: float) -> None:
        """Come back to reports of unknown messages: after 1, 1, 2, 4 … seconds, up to the end of the parking time.

        `parked_seconds` is how long they have been parked so far, `at_most` how long they may be.
        """
        left = max(0.0, at_most - parked_seconds)
        countdown = math.ceil(min(max(1.0, parked_seconds), left))
        self.postpone(unknown, countdown=countdown, parked_seconds=parked_seconds + max(countdown, 0.001))

    def _queue(self) -> str:
        queue = self._app.amqp.router.route({}, task_names.DISPATCH).get("queue") or self._app.conf.task_default_queue
        return str(getattr(queue, "name", queue))


def postponer_of(runtime: Runtime) -> Postponer:
    """The app's postponer in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Postponer:
    return Postponer(app=runtime.app, producers=runtime.producers)
