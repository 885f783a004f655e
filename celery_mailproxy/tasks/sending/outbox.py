"""The outbox of tasks: from a task that is published to its entry in the store, and from there to the broker.

An entry's content is two lines: what is known of the message, in JSON, and arguments and options in the serializer of
the task. The message has a header, `OUTBOX_HEADER`, by which a worker looks for its entry (see `outbox_runs`).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from amqp.exceptions import MessageNacked, PreconditionFailed  # type: ignore[import-untyped]
from celery.utils.time import maybe_iso8601, maybe_make_aware
from kombu import Exchange, Queue, serialization
from kombu.exceptions import ChannelError, LimitExceeded, OperationalError
from kombu.utils.functional import maybe_list

from ...deliveries.report import utcnow
from ...deliveries.stores.outbox import OutboxEntry
from ...dispatch.resumer import OUTBOX_HEADER
from ...errors import MessageTooLarge
from ...runtime import Runtime

__all__ = ["BROKER_ERRORS", "KeptMessage", "due_after", "entry_of", "is_passing", "publish_kept", "read_content"]

#: The broker is down, full, or refuses the task. An argument that cannot be serialised is a bug, and not among them.
BROKER_ERRORS = (OperationalError, ChannelError, LimitExceeded, MessageNacked, MessageTooLarge, OSError)

#: Options of one publication, which say nothing of the message; and its delay, which is over when it is published anew.
_OWN_OPTIONS = frozenset(
    {
        "add_to_parent",
        "confirm_timeout",
        "connection",
        "countdown",
        "eta",
        "producer",
        "publisher",
        "retries",
        "retry",
        "retry_policy",
        "router",
        "task_id",
        "timeout",
    }
)

#: Options that become part of the message; the others say how it is sent.
_MESSAGE_OPTIONS = frozenset(
    {
        "argsrepr",
        "chain",
        "chord",
        "expires",
        "group_id",
        "group_index",
        "ignore_result",
        "kwargsrepr",
        "origin",
        "parent_id",
        "replaced_task_nesting",
        "reply_to",
        "root_id",
        "shadow",
        "soft_time_limit",
        "stamped_headers",
        "time_limit",
    }
)


def is_passing(error: BaseException) -> bool:
    """Whether the same message may well be published later on: it is the broker's trouble, and not the message's."""
    return isinstance(error, BROKER_ERRORS) and not isinstance(error, PreconditionFailed | MessageTooLarge)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMessage:
    """A task's message, as an entry holds it. `options` are Celery's of `apply_async`; `kept_at` is when it was put."""

    name: str
    task_id: str
    args: Sequence[Any] = field(repr=False)
    kwargs: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    serializer: str
    kept_at: datetime

    def has_expired(self, app: Any, *, now: datetime) -> bool:
        """Whether the time is over within which the task was to be run (`expires`)."""
        expires = self.options.get("expires")
        if not expires:
            return False
        moment: datetime = maybe_make_aware(maybe_iso8601(expires), app.timezone)
        return moment <= now


def entry_of(
    task: Any, args: Any, kwargs: Mapping[str, Any], *, task_id: str, options: Mapping[str, Any], seconds: float
) -> OutboxEntry:
    """The entry of a task that is about to be published with these options of Celery's `apply_async`.

    It is due `seconds` after the task may begin. Raises kombu's `EncodeError` for what the serializer does not take.
    """
    now = utcnow()
    kept = _kept_options(task, options, now)
    serializer = str(kept.get("serializer") or task.app.conf.task_serializer)
    content_type, encoding, payload = serialization.dumps([list(args or ()), dict(kwargs), kept], serializer)
    head = {"n": task.name, "i": task_id, "s": serializer, "a": now.isoformat()}
    is_plain = content_type == "application/json"
    if not is_plain:
        # It may hold what a store does not take, and line breaks.
        head |= {"t": content_type, "e": encoding}
        payload = b64encode(payload if isinstance(payload, bytes) else payload.encode()).decode()
    content = f"{json.dumps(head)}\n{payload}"
    due_at = due_after(options, seconds=seconds, now=now, timezone=task.app.timezone)
    return OutboxEntry(task_id=task_id, content=content, due_at=due_at)


def read_content(content: str) -> KeptMessage:
    """The inverse of `entry_of`. Raises `ValueError` and the like for what is not of its making."""
    first, _, payload = content.partition("\n")
    head = json.loads(first)
    # Trusted: it comes from our own store, and was written from what a caller was about to publish.
    content_type = head.get("t", "application/json")
    data = b64decode(payload) if "t" in head else payload
    args, kwargs, options = serialization.loads(data, content_type, head.get("e", "utf-8"), accept=[content_type])
    return KeptMessage(
        name=head["n"],
        task_id=head["i"],
        args=args,
        kwargs=kwargs,
        options=options,
        serializer=head["s"],
        kept_at=datetime.fromisoformat(head["a"]),
    )


def due_after(options: Mapping[str, Any], *, seconds: float, now: datetime, timezone: Any) -> datetime:
    """The moment `seconds` after a task of these options (`countdown`, `eta`) may begin."""
    start = now
    if countdown := options.get("countdown"):
        start += timedelta(seconds=float(countdown))
    elif eta := options.get("eta"):
        start = max(start, maybe_make_aware(maybe_iso8601(eta), timezone))
    return start + timedelta(seconds=seconds)


def publish_kept(runtime: Runtime, message: KeptMessage, *, copy: int, prepares_result: bool = False) -> None:
    """Hand a kept message to the broker, which confirms it. `copy` is its number.

    With `prepares_result` the result backend gets ready for somebody in this process who waits for the result. Raises
    one of `BROKER_ERRORS`.
    """
    app = runtime.app
    args, kwargs = message.args, message.kwargs
    options = {name: value for name, value in message.options.items() if name not in _MESSAGE_OPTIONS}
    parts = {name: value for name, value in message.options.items() if name in _MESSAGE_OPTIONS}
    stamps = {name: options.pop(name) for name in parts.get("stamped_headers") or () if name in options}
    headers = {**(options.pop("headers", None) or {}), OUTBOX_HEADER: copy}
    body = app.amqp.as_task_v2(
        message.task_id,
        message.name,
        args,
        kwargs,
        callbacks=maybe_list(options.pop("link", None)),
        errbacks=maybe_list(options.pop("link_error", None)),
        create_sent_event=app.conf.task_send_sent_event,
        **parts,
        **stamps,
    )
    route = app.amqp.router.route({**options, "serializer": message.serializer}, message.name, args, kwargs)
    # Not `send_task`: that would have a worker wait for the result, and take what it runs for the task's parent.
    with runtime.producers.acquire() as producer:
        try:
            if prepares_result and not parts.get("ignore_result"):
                app.backend.on_task_call(producer, message.task_id)
            sent = {**route, **runtime.producers.brief}
            app.amqp.send_task_message(producer, message.name, body, headers=headers, **sent)
        except producer.connection.connection_errors as exc:
            raise OperationalError(str(exc)) from exc


def _kept_options(task: Any, options: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What publishes the message again, by another process and at another time."""
    own = {name: value for name, value in task._get_exec_options().items() if value is not None}
    own.setdefault("ignore_result", task.ignore_result)
    kept = {**own, **{name: _plain(value) for name, value in options.items() if name not in _OWN_OPTIONS}}
    # Whoever waits for the result by the rpc:// backend.
    kept["reply_to"] = kept.get("reply_to") or task.app.thread_oid
    if (parent := task.app.current_worker_task) is not None:
        request = parent.request
        kept["root_id"] = kept.get("root_id") or request.root_id or request.id
        kept["parent_id"] = kept.get("parent_id") or request.id
        if task.app.conf.task_inherit_parent_priority:
            kept.setdefault("priority", (request.delivery_info or {}).get("priority"))
    expires = kept.get("expires")
    if isinstance(expires, int | float):
        expires = now + timedelta(seconds=expires)
    kept["expires"] = expires.isoformat() if isinstance(expires, datetime) else expires
    return {name: value for name, value in kept.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Queue | Exchange) else value
