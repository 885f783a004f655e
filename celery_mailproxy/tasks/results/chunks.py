"""`deliver_from_chunk`: a mail of a campaign, whose result follows it, and which is submitted with its whole chunk.

The first task of a chunk carries the content of all its mails and submits them with one call; each of the others only
joins its result to its mail. Whoever of them comes first, and wherever a mail stands by then, makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task, shared_task

from ...conf import task_names
from ...errors import DamagedRecord, InvalidMessage
from ...runtime import get_runtime
from ..sending.arguments import many_outgoing
from ..sending.retrying import RETRYABLE, TIME_LIMITS, retry_later, retry_or_give_up
from ..sending.submitter import submitter_of
from .collect_task import CollectTask

__all__ = ["chunk_signatures", "deliver_from_chunk"]


class ChunkTask(CollectTask):
    """A `CollectTask` whose arguments are no mail's; they were checked when the campaign was built."""

    abstract = True

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        return Task.signature(self, *args, **kwargs)

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        return self._publish(args, kwargs or {}, task_id, options)

    def message_ids(self, request: Any) -> list[str]:
        """The ids of all mails of the chunk for the task that submits them, else none."""
        return chunk_ids(request.group, request.kwargs or {})


@shared_task(bind=True, base=ChunkTask, name=task_names.DELIVER_FROM_CHUNK, typing=False, **TIME_LIMITS)
def deliver_from_chunk(
    self: Any,
    *content: Mapping[str, Any],
    campaign: str,
    index: int,
    messages: Sequence[Mapping[str, Any]] = (),
    message_id: str | None = None,
    collect: bool = False,
) -> Any:
    """One task of `deliver_many_via_proxy`; not for use by itself. Its result is that of `deliver_via_proxy`.

    `messages` are the mails of the chunk that begins with the `index`-th of the campaign. Ids that the mails have not
    are made from the group's, so that the tasks of a chunk agree on them, and a group applied twice sends twice.
    """
    try:
        return _deliver(self, content, campaign, index, messages, message_id)
    except RETRYABLE as exc:
        raise retry_later(self, exc) from exc


def chunk_signatures(
    task: Any, messages: Sequence[Mapping[str, Any]], *, campaign: str, start: int, own: Mapping[str, Any]
) -> list[Any]:
    """The signatures of the tasks of a chunk, the first with the content of all. `own` are its tasks' own arguments."""
    signatures = []
    for offset, message in enumerate(messages):
        arguments: dict[str, Any] = {"campaign": campaign, "index": start + offset, **own}
        if "message_id" in message:
            arguments["message_id"] = message["message_id"]
        if not offset:
            arguments["messages"] = list(messages)
        signatures.append(task.signature((), arguments))
    return signatures


def chunk_ids(group_id: str, arguments: Mapping[str, Any]) -> list[str]:
    """The ids of the mails that a task of these arguments submits; none where it only joins its result to its mail."""
    campaign, start = arguments["campaign"], arguments["index"]
    return [
        each.get("message_id") or _member_id(group_id, campaign, start + offset)
        for offset, each in enumerate(arguments.get("messages") or ())
    ]


def _member_id(group_id: str, campaign: str, index: int) -> str:
    return f"{group_id}-{campaign}-{index}"


def _deliver(
    task: Any,
    content: Sequence[Any],
    campaign: str,
    index: int,
    messages: Sequence[Mapping[str, Any]],
    message_id: str | None,
) -> Any:
    group_id = task.request.group
    if group_id is None:
        raise InvalidMessage("messages", "are a campaign's: apply the group of deliver_many_via_proxy as a whole")
    if messages:
        ids = chunk_ids(group_id, {"campaign": campaign, "index": index, "messages": messages})
        _submit(task, [{**each, "message_id": own_id} for own_id, each in zip(ids, messages, strict=True)], content)
    own_id = message_id or _member_id(group_id, campaign, index)
    if task.request.called_directly or task.request.is_eager:
        return {"state": "queued", "id": own_id}
    task.show_queued(task.join(own_id))
    return task.suspend(own_id)


def _submit(task: Any, messages: Sequence[Mapping[str, Any]], content: Sequence[Any]) -> None:
    """Submit a chunk. Each mail's own task learns its outcome from its report."""
    runtime = get_runtime(task.app)
    task_id = task.request.id
    common = content[0] if content and isinstance(content[0], Mapping) else {}
    outgoing, refused = many_outgoing(messages, common, settings=runtime.settings, task_id=task_id)
    for message_id, callbacks, exc in refused:
        submitter_of(runtime).refuse(message_id, callbacks, str(exc), task_id=task_id)
    # Where the result of such a mail had joined it before: `refuse` leaves alone what belongs to another task.
    submitter_of(runtime).give_up([message_id for message_id, _, _ in refused], "refused", task_id=task_id)
    try:
        answer = submitter_of(runtime).submit(outgoing, task_id=task_id)
    except DamagedRecord as exc:
        # Not this task's matter, which waits for its own mail: the damaged one's own task waits for its record.
        outgoing = [each for each in outgoing if each.message.message_id not in exc.message_ids]
        answer = submitter_of(runtime).submit(outgoing, task_id=task_id)
    if answer.unsettled:
        retry_or_give_up(task, runtime, answer.unsettled, task_id=task_id)
