"""`LastingBackend`: a result that the backend did not take is stored when it does, as what it is.

Celery's tracer turns a result that cannot be stored into a failure, though the mail was sent; a chord then fails, too.
And it has published links and the next of a chain by then, so that the run must not be repeated. So for the run the
result counts as stored, and a task of its own stores it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from celery import shared_task
from celery.result import result_from_tuple
from kombu.exceptions import EncodeError

from ...conf import task_names
from ...deliveries.delivery import Delivery
from ...deliveries.suspension import Step, Suspension
from ...dispatch.resumer import request_of
from ...errors import MailProxyError, visible
from ...runtime import get_runtime
from ..confirmed_task import ConfirmedTask
from ..sending.retrying import DURABLE, TIME_LIMITS, retry_in

__all__ = ["CLAIM", "LastingBackend", "store_result"]

logger = logging.getLogger(__name__)

#: In the request of a resumed run: its message id, and the token of its claim.
CLAIM = "mail_proxy_claim"

#: How long a run goes on trying where neither the backend nor the broker takes anything.
_PATIENCE_SECONDS = 60.0

#: The pause between two of its tries.
_BREATH_SECONDS = 1.0

#: How long at most until the task tries again. Less than the lease of the claim, which every try renews.
_PAUSE_SECONDS = 60


class LastingBackend:
    """The result backend as a resumed run of `task` uses it."""

    def __init__(self, task: Any, backend: Any) -> None:
        self._task = task
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def mark_as_done(
        self, task_id: str, result: Any, request: Any = None, store_result: bool = True, **options: Any
    ) -> None:
        """As the backend's; where that fails, once it does not. Celery's tracer calls it."""
        self._last(self._backend.mark_as_done, task_id, result, request=request, store_result=store_result, **options)

    def mark_as_failure(
        self,
        task_id: str,
        exc: Any,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        **options: Any,
    ) -> None:
        """The same of a mail that was not sent."""
        options = {"traceback": traceback, "request": request, "store_result": store_result, **options}
        self._last(self._backend.mark_as_failure, task_id, exc, **options)

    def _last(self, mark: Any, *arguments: Any, store_result: bool, **options: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                mark(*arguments, store_result=store_result, **options)
                return
            except EncodeError:
                # No time will come for this one.
                raise
            except Exception as exc:
                if self._is_left_to_a_task(exc, is_stored=store_result) or time.monotonic() > deadline:
                    # Not finished: whatever is left of it, `resume_stalled` finds.
                    self._task.request.update({CLAIM: None})
                    return
            time.sleep(_BREATH_SECONDS)

    def _is_left_to_a_task(self, problem: Exception, *, is_stored: bool) -> bool:
        request = self._task.request
        message_id, token = request.get(CLAIM)
        children = [child.as_tuple() for child in request.children or ()]
        producers = get_runtime(self._task.app).producers
        task = self._task.app.signature(task_names.STORE_RESULT)
        options = {"countdown": 1, "add_to_parent": False, **producers.brief}
        try:
            with producers.acquire() as producer:
                task.apply_async((message_id, token, is_stored, children), producer=producer, **options)
        except Exception as exc:
            logger.error(
                "message %s: its result is not stored (%s), and nobody can be told (%s)",
                visible(message_id),
                type(problem).__name__,
                type(exc).__name__,
            )
            return False
        logger.warning("message %s: its result is stored later: %s", visible(message_id), type(problem).__name__)
        return True


@shared_task(
    bind=True,
    base=ConfirmedTask,
    name=task_names.STORE_RESULT,
    ignore_result=True,
    typing=False,
    **DURABLE,
    **TIME_LIMITS,
)
def store_result(self: Any, message_id: str, token: str, is_stored: bool, children: Sequence[Any]) -> None:
    """Store the result of a resumed run that the backend did not take; not for use by itself.

    `token` is that of the run's claim. `is_stored` is False where only a chord is to be told of the result.
    """
    runtime = get_runtime(self.app)
    try:
        moved = runtime.store.advance(message_id, Step.CLAIM, token=token)
        suspension = moved.delivery.suspension if moved.delivery else None
        if not moved.is_allowed or moved.delivery is None or suspension is None:
            # Stored by now, or another run's.
            return
        _store(self.app, moved.delivery, suspension, token, is_stored, children)
        runtime.store.advance(message_id, Step.FINISH, token=token)
    except Exception as exc:
        raise retry_in(self, exc, min(_PAUSE_SECONDS, 2 ** min(self.request.retries, 6))) from exc


def _store(
    app: Any, delivery: Delivery, suspension: Suspension, token: str, is_stored: bool, children: Sequence[Any]
) -> None:
    name, request = request_of(suspension)
    request.update(_children=[result_from_tuple(child, app=app) for child in children])
    task = app.tasks[name]
    task.request_stack.push(request)
    try:
        result = task.take(delivery, token)
    except MailProxyError as exc:
        app.backend.mark_as_failure(request.id, exc, request=request, store_result=is_stored)
    else:
        app.backend.mark_as_done(request.id, result, request=request, store_result=is_stored)
    finally:
        task.request_stack.pop()
