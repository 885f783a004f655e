"""From a caller's arguments to messages: checked where the caller can still fix them, and again in the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ...conf.settings import Settings
from ...errors import InvalidMessage, UnforeseenError, shown
from ...mail.arguments import normalise_arguments
from ...mail.message import MailMessage
from ...mail.payload import check_expressible
from .callbacks import CALLBACK_ARGUMENTS, Callbacks, split_callbacks
from .outgoing import Outgoing
from .per_recipient import distribute
from .unforeseen import FORESEEN, unforeseen

__all__ = [
    "Arguments",
    "Unbuilt",
    "addressee_of",
    "checked",
    "dump_arguments",
    "dump_many",
    "many_arguments",
    "many_outgoing",
    "messages_of",
    "one_outgoing",
]

Arguments = Mapping[str, Any]


def dump_arguments(arguments: Arguments) -> dict[str, Any]:
    """The arguments as plain JSON values, as they travel on the broker. Doing it twice changes nothing."""
    if "per_recipient" in arguments:
        raise InvalidMessage(
            "per_recipient", "is an argument of send_via_proxy, deliver_via_proxy and deliver_many_via_proxy alone"
        )
    rest, callbacks = split_callbacks(arguments)
    by_argument = {name: callbacks[kind] for name, kind in CALLBACK_ARGUMENTS.items() if kind in callbacks}
    return {**normalise_arguments(rest), **by_argument}


def one_outgoing(
    content: Sequence[Any], arguments: Arguments, *, settings: Settings, message_id: str, per_recipient: object = False
) -> Outgoing:
    """The message of one task, checked. `content` is what the task before it in a chain returned, if anything.

    With `per_recipient` also whether it can go to each recipient alone. Raises `InvalidMessage`.
    """
    if not isinstance(per_recipient, bool):
        raise InvalidMessage("per_recipient", f"must be True or False, got {shown(per_recipient)}")
    rest, callbacks = split_callbacks({**_content(content), **arguments})
    own_id = rest.pop("message_id", None)
    message = MailMessage.from_arguments(
        rest, message_id=own_id if own_id is not None else message_id, default_from=settings.from_email
    )
    if message.server not in settings.server_names():
        raise InvalidMessage("server", f"must be one of {', '.join(settings.server_names())}, got {message.server!r}")
    outgoing = Outgoing(message=message, callbacks=callbacks)
    if per_recipient:
        distribute(outgoing)
    return outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbuilt:
    """A message that could not be made. `error` is `InvalidMessage`, redacted, where its arguments are wrong."""

    message_id: str
    callbacks: Callbacks = field(repr=False)
    error: InvalidMessage | UnforeseenError


def many_outgoing(
    messages: Sequence[Any], common: Arguments, *, settings: Settings, task_id: str
) -> tuple[list[Outgoing], list[Unbuilt]]:
    """The messages of one task, and those that could not be made. Raises `InvalidMessage` where there is no list."""
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidMessage("messages", f"must be a list of dicts, got {type(messages).__name__}")
    built: list[Outgoing] = []
    unbuilt: list[Unbuilt] = []
    for index, arguments in enumerate(messages):
        content = (arguments,)
        message_id, callbacks = addressee_of(content, common, message_id=f"{task_id}-{index}")
        try:
            built.append(one_outgoing((), {**common, **_content(content)}, settings=settings, message_id=message_id))
        except InvalidMessage as exc:
            unbuilt.append(Unbuilt(message_id=message_id, callbacks=callbacks, error=exc.redacted()))
        except FORESEEN:
            raise
        except Exception as exc:
            error = unforeseen(exc, [message_id])
            unbuilt.append(Unbuilt(message_id=message_id, callbacks=callbacks, error=error))
    return built, unbuilt


def addressee_of(content: Sequence[Any], arguments: Arguments, *, message_id: str) -> tuple[str, Callbacks]:
    """Whom to notify that a message is wrong: its id and its callbacks, as far as they can be read. Never raises."""
    mapping = content[0] if content and isinstance(content[0], Mapping) else {}
    merged = {**mapping, **arguments}
    own_id = merged.get("message_id")
    try:
        callbacks = split_callbacks(merged)[1]
    except (InvalidMessage, RecursionError):
        callbacks = {}
    return own_id if isinstance(own_id, str) and own_id else message_id, callbacks


def many_arguments(
    messages: Sequence[Arguments], common: Arguments, *, settings: Settings, per_recipient: bool = False
) -> list[dict[str, Any]]:
    """The arguments of each of many mails, plain, with what is common to all; checked as a caller's list is.

    Raises `InvalidMessage` for the first that cannot be sent, as `messages[3].to`.
    """
    args, plain = dump_many((messages,), common)
    given, shared = messages_of(args, plain)
    checked(given, shared, settings, str(uuid4()), per_recipient=per_recipient)
    return [{**shared, **message} for message in given]


#: How results of our own tasks are recognised: of `send_via_proxy`, and of `deliver_via_proxy` for one mail, for each
#: recipient, and with `collect`.
_RESULT_KEYS = (
    frozenset({"id", "queued", "rejected"}),
    frozenset({"message_id", "kind", "via"}),
    frozenset({"ids", "sent", "error"}),
    frozenset({"message_id", "outcome", "report"}),
)


def _content(content: Sequence[Any]) -> Arguments:
    if not content:
        return {}
    if len(content) > 1 or not isinstance(content[0], Mapping):
        raise InvalidMessage(
            "content",
            "an email takes keyword arguments; in a chain the task before may return a dict of them, and where its "
            f"result is of no use write .si(…), got {', '.join(type(each).__name__ for each in content)}",
        )
    if any(keys <= content[0].keys() for keys in _RESULT_KEYS):
        raise InvalidMessage(
            "content", "the task before sent an email and returned its result: write .si(…) to ignore it"
        )
    return content[0]


def messages_of(args: Any, kwargs: Arguments) -> tuple[list[Arguments], dict[str, Any]]:
    common = dict(kwargs)
    given = list(args or ())
    messages = given[0] if given else common.pop("messages", None)
    if len(given) > 1 or isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidMessage("messages", f"must be a list of dicts, got {type(messages).__name__}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidMessage(f"messages[{index}]", f"must be a dict, got {type(message).__name__}")
    return list(messages), common


def dump_many(args: Any, kwargs: Arguments | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments, plain. A signature may still await its messages: then there are none."""
    if not args and "messages" not in (kwargs or {}):
        return (), dump_arguments(kwargs or {})
    messages, common = messages_of(args, kwargs or {})
    plain = []
    for index, message in enumerate(messages):
        try:
            plain.append(dump_arguments(message))
        except InvalidMessage as exc:
            raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc
    return (plain,), dump_arguments(common)


def checked(
    messages: Sequence[Arguments], common: Arguments, settings: Settings, group_id: str, *, per_recipient: bool = False
) -> list[Arguments]:
    """The messages, each with an id of its own, each checked.

    The ids follow from the group's: who repeats a call that broke off, with the same `task_id`, sends nothing twice.
    """
    if "message_id" in common:
        raise InvalidMessage("message_id", "must be given for each message, or left out: it is one email's own")
    numbered = [{"message_id": f"{group_id}-{index}", **message} for index, message in enumerate(messages)]
    seen: set[str] = set()
    for index, arguments in enumerate(numbered):
        message_id = str(arguments["message_id"])
        if message_id in seen:
            raise InvalidMessage(f"messages[{index}].message_id", f"must be unique in the list, got {message_id!r}")
        seen.add(message_id)
        try:
            merged = {**common, **arguments}
            check_expressible(
                one_outgoing((), merged, settings=settings, message_id=message_id, per_recipient=per_recipient).message
            )
        except InvalidMessage as exc:
            raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc
    return list(numbered)
