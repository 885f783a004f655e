"""What the sending tasks do in a worker: from their arguments to the proxy, once however often they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from ...deliveries.report import utcnow
from ...errors import DamagedRecord, DeliveryError, InvalidMessage, MessageRejected
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime, get_runtime
from .arguments import addressee_of, many_outgoing, one_outgoing
from .outgoing import Outgoing
from .per_recipient import distribute, each_summary, submit_members, with_reasons
from .retrying import retries_left, retry_later, retry_or_give_up
from .submitter import submitter_of

__all__ = ["deliver", "deliver_each", "send", "send_each", "send_many"]


def send(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    answer = submitter_of(runtime).submit([outgoing], task_id=task_id)
    if answer.unsettled and not retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id):
        # A report has come meanwhile: an answer was lost, not the mail.
        answer = SubmitAnswer(accepted=(message_id,))
    answer.raise_for(message_id)
    return {"id": message_id, "queued": 1, "rejected": []}


def send_each(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    parent, members = distribute(_one_or_refuse(runtime, content, arguments, task_id, per_recipient=True))
    begun_at = utcnow()
    (kept,) = submitter_of(runtime).register([parent], task_id=task_id)
    answer = submit_members(runtime, kept, members, task_id=task_id, begun_at=begun_at, retry=_retry_of(task, runtime))
    if not answer.accepted:
        answer.raise_for(members[0].message.message_id)
    return {"id": kept.message_id, "ids": kept.ids_by_member, **each_summary(answer)}


def deliver(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    if task.request.called_directly or task.request.is_eager:
        answer = submitter_of(runtime).submit([outgoing], task_id=task_id)
        if message_id in answer.rejected:
            raise DeliveryError(answer.rejected[message_id], None, message_id)
        answer.raise_for(message_id)
        return {"state": "queued", "id": message_id}
    begun_at = utcnow()
    kept = task.reserve(outgoing)
    task.show_queued(kept)
    # What is rejected or fails for good has ended after this call: `suspend` finds the outcome.
    answer, moved = submitter_of(runtime).submit_suspending(outgoing, kept, task_id=task_id, begun_at=begun_at)
    if answer.unsettled:
        retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id)
    return task.suspend(message_id, moved)


def deliver_each(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> Any:
    if task.request.called_directly or task.request.is_eager:
        try:
            submitted = send_each(task, content, arguments)
        except MessageRejected as exc:
            raise DeliveryError(exc.reason, None, exc.message_id) from exc
        reasons = {each["id"]: each["reason"] for each in (*submitted["rejected"], *submitted["failed"])}
        ids = submitted["ids"]
        error = {address: reasons[each] for address, each in ids.items() if each in reasons}
        return {"state": "queued", "id": submitted["id"], "ids": ids, "sent": [], "error": error}
    runtime = get_runtime(task.app)
    task_id = task.request.id
    parent, members = distribute(_one_or_refuse(runtime, content, arguments, task_id, per_recipient=True))
    begun_at = utcnow()
    kept = task.reserve(parent)
    task.show_queued(kept)
    submit_members(runtime, kept, members, task_id=task_id, begun_at=begun_at, retry=_retry_of(task, runtime))
    return task.suspend(kept.message_id)


def send_many(task: Any, messages: Sequence[Any], common: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing, refused = many_outgoing(messages, common, settings=runtime.settings, task_id=task_id)
    answer = SubmitAnswer(rejected={message_id: str(exc) for message_id, _, exc in refused})
    for message_id, callbacks, exc in refused:
        submitter_of(runtime).refuse(message_id, callbacks, str(exc), task_id=task_id)
    size = runtime.settings.chunk_size
    damaged: DamagedRecord | None = None
    for start in range(0, len(outgoing), size):
        try:
            answer += submitter_of(runtime).submit(outgoing[start : start + size], task_id=task_id)
        except DamagedRecord as exc:
            damaged = exc
    if damaged is not None:
        raise damaged
    if answer.unsettled:
        retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id)
    ids = [each.message.message_id for each in outgoing]
    failed = {message_id: str(error) for message_id, error in {**answer.failed, **answer.unsettled}.items()}
    return _many_result(ids, answer.rejected, failed)


def _one_or_refuse(
    runtime: Runtime,
    content: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any],
    task_id: str,
    *,
    per_recipient: bool = False,
) -> Outgoing:
    settings = runtime.settings
    try:
        return one_outgoing(content, arguments, settings=settings, message_id=task_id, per_recipient=per_recipient)
    except InvalidMessage as exc:
        # Redacted: Celery logs what a task raises, and stores it as the result.
        redacted = exc.redacted()
        message_id, callbacks = addressee_of(content, arguments, message_id=task_id)
        submitter_of(runtime).refuse(message_id, callbacks, str(redacted), task_id=task_id)
        raise redacted from None


def _retry_of(task: Any, runtime: Runtime) -> Callable[[Exception], Exception] | None:
    """What makes the exception of a retry; None where there is to be none."""
    return partial(retry_later, task) if retries_left(task, runtime) else None


def _many_result(ids: Sequence[str], rejected: Mapping[str, str], failed: Mapping[str, str]) -> dict[str, Any]:
    all_ids = list(dict.fromkeys([*ids, *rejected]))
    return {
        "ids": all_ids,
        "queued": len(all_ids) - len(rejected) - len(failed),
        "rejected": with_reasons(rejected),
        "failed": with_reasons(failed),
    }
