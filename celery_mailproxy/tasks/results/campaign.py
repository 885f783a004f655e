"""`deliver_many_via_proxy`: many mails as the header of a chord, whose body runs when the last of them has ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import Celery, current_app, group

from ...conf import task_names
from ...runtime import get_runtime
from ..sending.arguments import many_arguments
from .chunks import chunk_signatures

__all__ = ["deliver_many_via_proxy"]

#: A chunk travels in one message of the broker, and brokers do not like large ones.
_CHUNK_BYTES = 256 * 1024


def deliver_many_via_proxy(
    messages: Sequence[Mapping[str, Any]],
    *,
    collect: bool = False,
    per_recipient: bool = False,
    app: Celery | None = None,
    **common: Any,
) -> Any:
    """A group signature of one task for each mail: `chord(deliver_many_via_proxy(mails), body.s())`.

    Each message is a dict of the arguments of `send_via_proxy`; `common` holds for all that do not say otherwise. Each
    result is that of `deliver_via_proxy`; with `collect` a single failure fails nothing, and each result is
    `{"message_id", "outcome", "reason", "report"}`. A task's message id is in its results and its QUEUED state's meta.
    With `per_recipient` each mail goes to each of its recipients as a message of its own, still with one result a mail.

    The mails are submitted in chunks of `mail_proxy_chunk_size`, for which the proxy takes half the time. Nothing is
    published until the group, or the canvas it is part of, is applied. Raises `InvalidMessage` for the first message
    that cannot be sent, as `messages[3].to`.
    """
    real_app = current_app if app is None else app
    settings = get_runtime(app).settings
    own = {name: True for name, value in (("collect", collect), ("per_recipient", per_recipient)) if value}
    arguments = many_arguments(messages, common, settings=settings, per_recipient=per_recipient)
    campaign = uuid4().hex[:8]
    signatures: list[Any] = []
    # A mail to each recipient is a chunk by itself.
    for chunk in _chunks(arguments, 1 if per_recipient else settings.chunk_size):
        if len(chunk) == 1:
            signatures.append(real_app.tasks[task_names.DELIVER].signature((), {**chunk[0], **own}))
        else:
            task = real_app.tasks[task_names.DELIVER_FROM_CHUNK]
            signatures += chunk_signatures(task, chunk, campaign=campaign, start=len(signatures), own=own)
    return group(signatures, app=real_app)


def _chunks(arguments: Sequence[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Chunks of up to `size` mails, and of up to `_CHUNK_BYTES` where a mail is not larger by itself."""
    chunk: list[dict[str, Any]] = []
    room = _CHUNK_BYTES
    for each in arguments:
        weight = len(json.dumps(each))
        if chunk and (len(chunk) == size or weight > room):
            yield chunk
            chunk, room = [], _CHUNK_BYTES
        chunk.append(each)
        room -= weight
    if chunk:
        yield chunk
