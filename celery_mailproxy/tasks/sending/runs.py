"""What the sending tasks do in a worker: from their arguments to the proxy, once however often they are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

from ...deliveries.report import utcnow
from ...errors import DamagedRecord, DeliveryError, InvalidMessage, MessageRejected, UnforeseenError
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime, get_runtime
from .arguments import Unbuilt, addressee_of, many_outgoing, one_outgoing
from .outgoing import Outgoing, id_of
from .per_recipient import distribute, each_summary, submit_members, with_reasons
from .retrying import retry_or_give_up
from .submitter import submitter_of
from .unforeseen import FORESEEN, unforeseen

__all__ = ["deliver", "deliver_each", "send", "send_each", "send_many", "submit_many"]


def send(task: Any, content: Sequence[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    outgoing = _one_or_refuse(runtime, content, arguments, task_id)
    message_id = outgoing.message.message_id
    answer = submitter_of(runtime).submit([outgoing], task_id=task_id)
    callbacks = {message_id: outgoing.callbacks}
    if answer.unsettled and not retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id, callbacks=callbacks):
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
    answer = submit_members(
        runtime,
        kept,
        members,
        task_id=task_id,
        begun_at=begun_at,
        retry_or_give_up=partial(retry_or_give_up, task, runtime, task_id=task_id, callbacks={}),
    )
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
        try:
            answer.raise_for(message_id)
        except MessageRejected as exc:
            raise DeliveryError(exc.reason, None, message_id) from exc
        return {"state": "queued", "id": message_id}
    begun_at = utcnow()
    kept = task.reserve(outgoing)
    task.show_queued(kept)
    # What is rejected or fails for good has ended after this call: `suspend` finds the outcome.
    answer, moved = submitter_of(runtime).submit_suspending(outgoing, kept, task_id=task_id, begun_at=begun_at)
    if answer.unsettled:
        callbacks = {message_id: outgoing.callbacks}
        retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id, callbacks=callbacks)
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
    submit_members(
        runtime,
        kept,
        members,
        task_id=task_id,
        begun_at=begun_at,
        retry_or_give_up=partial(retry_or_give_up, task, runtime, task_id=task_id, callbacks={}),
    )
    return task.suspend(kept.message_id)


def send_many(task: Any, messages: Sequence[Any], common: Mapping[str, Any]) -> dict[str, Any]:
    runtime = get_runtime(task.app)
    task_id = task.request.id or str(uuid4())
    ids, answer = submit_many(task, runtime, messages, common, task_id=task_id)
    failed = {message_id: str(error) for message_id, error in {**answer.failed, **answer.unsettled}.items()}
    return _many_result(ids, answer.rejected, failed)


def submit_many(
    task: Any,
    runtime: Runtime,
    messages: Sequence[Any],
    common: Mapping[str, Any],
    *,
    task_id: str,
    are_joined: bool = False,
) -> tuple[list[str], SubmitAnswer]:
    """Submit a list of mails; the ids of those that could be made, and what became of all.

    `are_joined` says that the results of other tasks may have joined the mails before. No mail takes another down:
    what is wrong with one concerns that one. Raises the retry of those that are unsettled.
    """
    built, unbuilt = many_outgoing(messages, common, settings=runtime.settings, task_id=task_id)
    answer = SubmitAnswer()
    for each in unbuilt:
        answer += _end_unbuilt(runtime, each, task_id=task_id, is_joined=are_joined)
    size = runtime.settings.chunk_size
    damaged: DamagedRecord | None = None
    for start in range(0, len(built), size):
        chunk = built[start : start + size]
        try:
            answer += submitter_of(runtime).submit(chunk, task_id=task_id)
        except DamagedRecord as exc:
            # The mails whose records can be read have been submitted.
            damaged = exc
            if are_joined:
                # The damaged mail's own task waits for its record. This one goes on with what became of the others.
                chunk = [each for each in chunk if id_of(each) not in exc.message_ids]
                answer += submitter_of(runtime).submit(chunk, task_id=task_id)
    if damaged is not None and not are_joined:
        raise damaged
    if answer.unsettled:
        callbacks = {each.message_id: each.callbacks for each in unbuilt}
        callbacks |= {id_of(each): each.callbacks for each in built}
        ended = retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id, callbacks=callbacks)
        # Of the others a report has come meanwhile: an answer was lost, not the mail.
        answer = replace(answer, unsettled={each: answer.unsettled[each] for each in ended})
    return [id_of(each) for each in built], answer


def _end_unbuilt(runtime: Runtime, unbuilt: Unbuilt, *, task_id: str, is_joined: bool) -> SubmitAnswer:
    """End a mail whose arguments are wrong. One that could not be made for any other reason is tried again."""
    message_id, error = unbuilt.message_id, unbuilt.error
    if isinstance(error, UnforeseenError):
        return SubmitAnswer(unsettled={message_id: error})
    try:
        submitter_of(runtime).refuse(message_id, unbuilt.callbacks, str(error), task_id=task_id)
        if is_joined:
            # `refuse` leaves alone what belongs to another task.
            submitter_of(runtime).give_up([message_id], str(error), task_id=task_id)
    except FORESEEN:
        raise
    except Exception as exc:
        return SubmitAnswer(unsettled={message_id: unforeseen(exc, [message_id])})
    return SubmitAnswer(rejected={message_id: str(error)})


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


def _many_result(ids: Sequence[str], rejected: Mapping[str, str], failed: Mapping[str, str]) -> dict[str, Any]:
    all_ids = list(dict.fromkeys([*ids, *rejected, *failed]))
    return {
        "ids": all_ids,
        "queued": len(all_ids) - len(rejected) - len(failed),
        "rejected": with_reasons(rejected),
        "failed": with_reasons(failed),
    }
