"""Suspended results that nobody moves on any more: what `resume_stalled` does with them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from celery import states
from kombu.exceptions import OperationalError

from ...deliveries.delivery import Delivery, Status
from ...deliveries.suspension import Step, Suspension, SuspensionState
from ...dispatch.dispatcher import dispatcher_of
from ...dispatch.resumer import expiry_of, holds_arguments, resumer_of
from ...errors import DamagedRecord, StoreError, redact, visible
from ...runtime import Runtime
from ..sending.revoked import finish_revoked, revoked_reason
from ..sending.submitter import submitter_of

__all__ = ["OUTCOMES", "move_on_stalled"]

logger = logging.getLogger(__name__)

#: What becomes of a stalled result; the keys of the answer.
OUTCOMES = ("resumed", "submitted", "waiting", "given_up", "revoked")


#: How many are moved on before `go_on` is asked.
_AT_ONCE = 100


def move_on_stalled(
    runtime: Runtime, *, now: datetime, lease_seconds: float, limit: int, go_on: Callable[[], bool] = lambda: True
) -> dict[str, int]:
    """Publish again what has been silent for the length of a lease; how many of each of `OUTCOMES`.

    Safe to run at any time and in any number: of several janitors one takes the step, of several copies of a message
    one wins its claim. Between two portions `go_on` says whether there is time for the next. Raises `StoreError` and
    kombu's `OperationalError`; what is left over is found by the next run.
    """
    counts = Counter(dict.fromkeys(OUTCOMES, 0))
    stalled = runtime.store.stalled(before=now - timedelta(seconds=lease_seconds), limit=limit)
    for index, delivery in enumerate(stalled):
        if index and index % _AT_ONCE == 0 and not go_on():
            break
        try:
            outcome = _move_on(runtime, delivery, now)
        except Exception as exc:
            if isinstance(exc, StoreError | OperationalError) and not isinstance(exc, DamagedRecord):
                raise
            # A message that cannot be read, say: it costs no other.
            logger.error("message %s could not be moved on: %s", visible(delivery.message_id), redact(repr(exc)))
            continue
        if outcome is not None:
            counts[outcome] += 1
    return dict(counts)


def _move_on(runtime: Runtime, delivery: Delivery, now: datetime) -> str | None:
    suspension = delivery.suspension
    if suspension is None:
        return None
    message_id = delivery.message_id
    if suspension.state is SuspensionState.NEW and delivery.status is not Status.NEW:
        # The proxy has it, and only the mark is missing.
        moved = runtime.store.advance(message_id, Step.SUBMITTED, token=suspension.owner)
        return "waiting" if moved.is_allowed else None
    # First the step, then the publication: if that fails, the result stalls once more, and no second janitor does it.
    moved = runtime.store.advance(message_id, Step.RESTART)
    taken = moved.delivery.suspension if moved.delivery else None
    if taken is None or not moved.is_allowed:
        return None
    # What is `new` now was so before, for nothing leads back to it; what was, may have ended meanwhile.
    is_new = taken.state is SuspensionState.NEW
    if _is_revoked(runtime, taken.owner):
        # Workers forget revocations after three hours: published again then, the task would run after all.
        if is_new:
            _give_up(runtime, delivery, revoked_reason(expired=False), taken.owner)
        finish_revoked(runtime.store, message_id, owner=taken.owner)
        return "revoked"
    if is_new and (problem := _lost_for_good(taken, now)) is not None:
        _give_up(runtime, delivery, problem, taken.owner)
        return "given_up"
    resumer_of(runtime).publish(message_id, taken, resumes=not is_new)
    return "submitted" if is_new else "resumed"


def _lost_for_good(suspension: Suspension, now: datetime) -> str | None:
    """Why a mail that the proxy never had is not to be submitted any more; None where it is."""
    expires_at = expiry_of(suspension)
    if expires_at is not None and expires_at <= now:
        return revoked_reason(expired=True)
    if not holds_arguments(suspension):
        return "given up: its worker was lost before the proxy had it, with arguments too large to be kept"
    return None


def _give_up(runtime: Runtime, delivery: Delivery, reason: str, task_id: str) -> None:
    """End a message that the proxy never had; of a parent those members, and it waits for the others."""
    if not delivery.members:
        submitter_of(runtime).give_up([delivery.message_id], reason, task_id=task_id)
        return
    submitter_of(runtime).give_up(delivery.member_ids, reason, task_id=task_id)
    dispatcher_of(runtime).join([delivery.message_id])
    parent = runtime.store.get(delivery.message_id)
    if parent is not None and not parent.is_ended:
        runtime.store.advance(delivery.message_id, Step.SUBMITTED, token=task_id)


def _is_revoked(runtime: Runtime, task_id: str) -> bool:
    try:
        return bool(runtime.app.backend.get_state(task_id) == states.REVOKED)
    except NotImplementedError:
        # Without a result backend nobody knows.
        return False
