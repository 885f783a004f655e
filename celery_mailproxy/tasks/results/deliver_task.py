"""`DeliverTask`: the base of tasks whose Celery result follows the mail (`docs/explanation/suspended-results.md`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from celery import states
from celery.exceptions import Ignore

from ...deliveries.delivery import Delivery
from ...deliveries.report import utcnow
from ...deliveries.stores.base import Advanced
from ...deliveries.suspension import Step, Suspension, SuspensionState
from ...dispatch.events import events_of
from ...dispatch.joining import Joiner
from ...dispatch.resumer import RESUME_HEADER, capture_message
from ...errors import (
    ID_IN_USE,
    DamagedRecord,
    DeliveryError,
    MailProxyError,
    MessageIdInUse,
    StoreError,
    UnforeseenError,
    visible,
)
from ...runtime import Runtime, get_runtime
from ..sending.base_tasks import SendTask
from ..sending.guard import guarded
from ..sending.outbox_runs import begin_run
from ..sending.outgoing import Outgoing
from ..sending.retrying import retry_in, retry_later
from ..sending.submitter import submitter_of
from .chord_expiry import warn_of_short_chords
from .outcome import outcome_of
from .storing import CLAIM, LastingBackend

try:
    # Celery 5.6 on: the message's word counts before the task's.
    from celery.app.task import get_actual_ignore_result
except ImportError:  # pragma: no cover - an older Celery

    def get_actual_ignore_result(task: Any, request: Any) -> bool:
        return bool(task.ignore_result or getattr(request, "ignore_result", False))


__all__ = ["QUEUED", "DeliverTask"]

logger = logging.getLogger(__name__)

#: The state of a result whose mail the proxy has, or is about to get.
QUEUED = "QUEUED"

#: How long a resumed run waits for the store.
_STORE_PATIENCE_SECONDS = 5

#: Which states of Celery's end a resumed run for good.
_ENDS = frozenset({states.SUCCESS, states.FAILURE, states.REVOKED})


class DeliverTask(SendTask):
    """A task that suspends itself once its mail is with the proxy, and is run again when the mail has ended.

    The first run calls `suspend` and ends in `Ignore`; the resumed run returns the report, or raises `DeliveryError`,
    and Celery does the rest.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    track_started = False
    max_retries = None
    throws = (MailProxyError,)
    dont_autoretry_for = (DeliveryError,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        header = self.request.get(RESUME_HEADER)
        try:
            if self.request.called_directly:
                return super().__call__(*args, **kwargs)
            if not isinstance(header, Mapping):
                begin_run(self)
                # Not `super()`: outside a worker (eager) it pushes a request of its own, without the task's id.
                return self.run(*args, **kwargs)
            # Its mail has ended: no other end is to be made of it.
            return guarded(self, lambda: self._resume(str(header["id"]), str(header["token"])), addressees={})
        except Ignore:
            pass
        # A new one, without a traceback: Celery formats it twice and sends it to the worker's main process.
        raise Ignore

    def reserve(self, outgoing: Outgoing) -> Delivery:
        """Register the message with this task's message beside it.

        The answer's suspension is `new`: submit; or `early`: only take the outcome. Raises `Ignore` where the message
        is on its way already (this is a redelivery), and `MessageIdInUse` where its id belongs to another task.
        """
        suspension = self._capture()
        (kept,) = submitter_of(self._runtime).register(
            [replace(outgoing, suspension=suspension)], task_id=self.request.id
        )
        return self._mine(kept, suspension)

    def join(self, message_id: str) -> Delivery:
        """`reserve` for a message that another task registers and submits, before or after."""
        suspension = self._capture()
        joining = Delivery(
            message_id=message_id,
            created_at=suspension.since,
            updated_at=suspension.since,
            task_id=self.request.id,
            is_known=False,
            suspension=suspension,
        )
        (kept,) = self._runtime.store.register([joining])
        return self._mine(kept, suspension)

    def _capture(self) -> Suspension:
        settings = self._runtime.settings
        if self.request.chord:
            warn_of_short_chords(self._runtime)
        message = capture_message(
            self,
            ignore_result=self._ignores_result(),
            args_bytes=settings.resume_args_bytes,
            queue=settings.resume_queue,
        )
        return Suspension(owner=self.request.id, since=utcnow(), message=message)

    def _mine(self, kept: Delivery, suspension: Suspension) -> Delivery:
        """What the store has kept, where it is still this task's to go on with."""
        if kept.suspension is None or kept.suspension.owner != self.request.id:
            raise MessageIdInUse(f"message {kept.message_id!r} is not sent: {ID_IN_USE}")
        is_mine = kept.suspension.state is SuspensionState.RUNNING and kept.suspension.token == self.request.id
        if kept.suspension.state not in (SuspensionState.NEW, SuspensionState.EARLY) and not is_mine:
            raise Ignore
        if kept.suspension.since != suspension.since:
            # So that `resume_stalled` does not take a task for lost that is being tried again.
            self._runtime.store.advance(kept.message_id, Step.RENEW)
        return kept

    def show_queued(self, kept: Delivery) -> None:
        """Write the state QUEUED. Before the submission: later it could land on top of the final one."""
        if kept.suspension is None or kept.suspension.state is not SuspensionState.NEW:
            return
        message_id = kept.message_id
        fields = {"uuid": self.request.id, "hostname": self.request.hostname, "message_id": message_id}
        events_of(self._runtime).emit("task-queued", fields)
        if self._ignores_result():
            return
        try:
            self.update_state(state=QUEUED, meta={"message_id": message_id, "at": utcnow().isoformat()})
        except Exception as exc:
            # It is for people who look meanwhile: a result backend that is away holds up no mail.
            logger.warning(
                "message %s: the state QUEUED of its result is not shown: %s", visible(message_id), type(exc).__name__
            )

    def suspend(self, message_id: str, moved: Advanced | None = None) -> Any:
        """End the first run: in `Ignore`, or with the outcome where it has been reported already.

        `moved` is the store's answer where the step has been taken.
        """
        if moved is None:
            moved = self._runtime.store.advance(message_id, Step.SUBMITTED, token=self.request.id)
        delivery = moved.delivery
        suspension = delivery.suspension if delivery else None
        is_mine = suspension and suspension.state is SuspensionState.RUNNING and suspension.token == self.request.id
        if delivery is None or not is_mine:
            raise Ignore
        return self.take(delivery, self.request.id)

    def own_message_id(self, request: Any) -> str:
        """The id of the mail that the task's result follows."""
        return self.message_ids(request)[0]

    def conclude(self, error: UnforeseenError) -> Any:
        """End a run whose mail has ended for that error; see `guarded`. The result is the mail's own where it has one.

        So a mail that the proxy has nevertheless is waited for.
        """
        if self.request.get(RESUME_HEADER):
            raise error
        delivery = self._runtime.store.get(self.own_message_id(self.request))
        if delivery is None or delivery.task_id != self.request.id:
            raise error
        if delivery.suspension is not None:
            return self.suspend(delivery.message_id)
        if delivery.is_ended:
            return self.take(delivery, self.request.id)
        raise error

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Celery's hook: the result is stored, so the record can become a tombstone."""
        super().after_return(status, retval, task_id, args, kwargs, einfo)
        claim = self.request.get(CLAIM)
        if not claim or status not in _ENDS:
            return
        message_id, token = claim
        try:
            self._runtime.store.advance(message_id, Step.FINISH, token=token)
        except StoreError:
            # The result stands. What is left over is a record that `resume_stalled` tidies up.
            logger.warning("message %s: its record could not be finished", message_id, exc_info=True)

    @property
    def backend(self) -> Any:
        """The result backend; while a mail's end is taken, one that does not lose it."""
        backend = super().backend
        return LastingBackend(self, backend) if self.request.get(CLAIM) else backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    @property
    def _runtime(self) -> Runtime:
        return get_runtime(self.app)

    def _ignores_result(self) -> bool:
        return bool(get_actual_ignore_result(self, self.request))

    def _resume(self, message_id: str, token: str) -> Any:
        try:
            moved = self._runtime.store.advance(message_id, Step.CLAIM, token=token)
            if moved.delivery is None:
                logger.warning(
                    "message %s: its result stays as it is: the store has no record of it, which has expired or was "
                    "deleted",
                    visible(message_id),
                )
                raise Ignore
            if not moved.is_allowed:
                # Another copy of this message runs, or has run.
                raise Ignore
            return self.take(moved.delivery, token)
        except DamagedRecord as exc:
            raise retry_later(self, exc) from exc
        except StoreError as exc:
            # The mail has ended, and this run only says how: a store that is away for a moment must not be its end.
            raise retry_in(self, exc, _STORE_PATIENCE_SECONDS) from exc

    def take(self, delivery: Delivery, token: str) -> Any:
        """The result of a mail that has ended, for the run with this token. Raises `DeliveryError`."""
        self._hold_claim(delivery, token)
        return {**outcome_of(delivery).sent_report().to_json(), **self._joined(delivery)}

    def _hold_claim(self, delivery: Delivery, token: str) -> None:
        """Keep the claim for `after_return`; the request lives as long as this run."""
        self.request.update({CLAIM: (delivery.message_id, token)})

    def _joined(self, delivery: Delivery) -> dict[str, Any]:
        """Where each recipient got a message of its own: what became of each."""
        return Joiner(self._runtime.store).joined(delivery) if delivery.members else {}
