"""`deliver_from_chunk`: a mail of a campaign, whose result follows it, and which is submitted with its whole chunk.

The first task of a chunk carries the content of all its mails and submits them with one call; each of the others only
joins its result to its mail. Whoever of them comes first, and wherever a mail stands by then, makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Task, shared_task

from ...conf import task_names
from ...errors import InvalidMessage
from ...runtime import get_runtime
from ..sending.arguments import addressee_of
from ..sending.callbacks import Callbacks
from ..sending.guard import guarded
from ..sending.retrying import TIME_LIMITS
from ..sending.runs import submit_many
from .collect_task import CollectTask
from .outcome import outcome_of

__all__ = ["chunk_signatures", "deliver_from_chunk"]

#: Carries the id of the group into a task that is run eagerly.
_GROUP_HEADER = "mail_proxy_group"


class ChunkTask(CollectTask):
    """A `CollectTask` whose arguments are no mail's; they were checked when the campaign was built."""

    abstract = True

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        return Task.signature(self, *args, **kwargs)

    def apply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        return self._publish(args, kwargs or {}, task_id, options)

    def apply(self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """As `Task.apply`, by which a group runs its tasks eagerly: their requests do not name the group."""
        if group_id := options.get("group_id"):
            options["headers"] = {**(options.get("headers") or {}), _GROUP_HEADER: group_id}
        return super().apply(args, kwargs, **options)

    def addressees(self, request: Any) -> dict[str, Callbacks]:
        """All mails of the chunk for the task that submits them, else none."""
        arguments = request.kwargs or {}
        common = request.args[0] if request.args and isinstance(request.args[0], Mapping) else {}
        return dict(
            addressee_of((message,), common, message_id=message_id)
            for message_id, message in zip(
                chunk_ids(_group_of(request), arguments), arguments.get("messages") or (), strict=True
            )
        )

    def own_message_id(self, request: Any) -> str:
        """The id of the mail that the task's result follows."""
        arguments = request.kwargs or {}
        return arguments.get("message_id") or _member_id(_group_of(request), arguments["campaign"], arguments["index"])


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
    return guarded(self, lambda: _deliver(self, content, campaign, index, messages, message_id))


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
    return [
        each.get("message_id") or _member_id(group_id, arguments["campaign"], arguments["index"] + offset)
        for offset, each in enumerate(arguments.get("messages") or ())
    ]


def _group_of(request: Any) -> Any:
    return request.group or (getattr(request, "headers", None) or {}).get(_GROUP_HEADER)


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
    group_id = _group_of(task.request)
    if group_id is None:
        raise InvalidMessage("messages", "are a campaign's: apply the group of deliver_many_via_proxy as a whole")
    if messages:
        ids = chunk_ids(group_id, {"campaign": campaign, "index": index, "messages": messages})
        _submit(task, [{**each, "message_id": own_id} for own_id, each in zip(ids, messages, strict=True)], content)
    own_id = message_id or _member_id(group_id, campaign, index)
    if task.request.is_eager:
        return _submitted(task, own_id)
    task.show_queued(task.join(own_id))
    return task.suspend(own_id)


def _submitted(task: Any, message_id: str) -> dict[str, Any]:
    """The result of a mail that is not waited for. Raises `DeliveryError` where the proxy has not taken it."""
    delivery = get_runtime(task.app).store.get(message_id)
    if delivery is not None and delivery.is_ended:
        outcome_of(delivery).sent_report()
    return {"state": "queued", "id": message_id}


def _submit(task: Any, messages: Sequence[Mapping[str, Any]], content: Sequence[Any]) -> None:
    """Submit a chunk. Each mail's own task learns its outcome from its report."""
    runtime = get_runtime(task.app)
    task_id = task.request.id
    common = content[0] if content and isinstance(content[0], Mapping) else {}
    submit_many(task, runtime, messages, common, task_id=task_id, are_joined=True)
