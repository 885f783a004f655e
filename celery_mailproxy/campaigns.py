"""`deliver_many_via_proxy`: many mails as the header of a chord, whose body runs when the last of them has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery, current_app, group

from .outgoing import many_arguments
from .runtime import get_runtime
from .tasks import deliver_via_proxy

__all__ = ["deliver_many_via_proxy"]


def deliver_many_via_proxy(
    messages: Sequence[Mapping[str, Any]], *, collect: bool = False, app: Celery | None = None, **common: Any
) -> Any:
    """A group signature of one `deliver_via_proxy` for each mail: `chord(deliver_many_via_proxy(mails), body.s())`.

    Each message is a dict of the arguments of `send_via_proxy`; `common` holds for all that do not say otherwise. With
    `collect` a single failure fails nothing: each result is `{"message_id", "outcome", "reason", "report"}`.

    Nothing is published until the group, or the canvas it is part of, is applied. Raises `InvalidMessage` for the
    first message that cannot be sent, as `messages[3].to`.
    """
    real_app = current_app if app is None else app
    task = real_app.tasks[deliver_via_proxy.name]
    own = {"collect": True} if collect else {}
    arguments = many_arguments(messages, common, settings=get_runtime(app).settings)
    return group([task.signature((), {**each, **own}) for each in arguments], app=real_app)
