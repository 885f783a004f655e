"""From the caller's arguments to messages: checked where the caller can still mend them, and again in the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from celery import Task
from celery.result import GroupResult

from .callbacks import CALLBACK_ARGUMENTS, Callbacks, split_callbacks
from .conf import Settings
from .errors import InvalidMessage
from .messages import MailMessage, normalise_arguments
from .mime import encode
from .runtime import get_runtime
from .submission import Outgoing

__all__ = ["SendManyTask", "SendTask", "many_arguments", "many_outgoing", "one_outgoing"]

Arguments = Mapping[str, Any]


def dump_arguments(arguments: Arguments) -> dict[str, Any]:
    """The arguments as plain JSON values, as they travel on the broker. Doing it twice changes nothing."""
    rest, callbacks = split_callbacks(arguments)
    by_argument = {name: callbacks[kind] for name, kind in CALLBACK_ARGUMENTS.items() if kind in callbacks}
    return {**normalise_arguments(rest), **by_argument}


def one_outgoing(content: Sequence[Any], arguments: Arguments, *, settings: Settings, message_id: str) -> Outgoing:
    """The message of one task, checked. `content` is what the task before it in a chain returned, if anything.

    Raises `InvalidMessage`.
    """
    rest, callbacks = split_callbacks({**_content(content), **arguments})
    own_id = rest.pop("message_id", None)
    message = MailMessage.from_arguments(
        rest, message_id=own_id if own_id is not None else message_id, default_from=settings.from_email
    )
    if message.server not in settings.server_names():
        raise InvalidMessage("server", f"must be one of {', '.join(settings.server_names())}, got {message.server!r}")
    return Outgoing(message=message, callbacks=callbacks)


def many_outgoing(
    messages: Sequence[Arguments], common: Arguments, *, settings: Settings, task_id: str
) -> tuple[list[Outgoing], list[tuple[str, Callbacks, InvalidMessage]]]:
    """The messages of one task, and those that are wrong, as (message id, callbacks, redacted error)."""
    good: list[Outgoing] = []
    bad: list[tuple[str, Callbacks, InvalidMessage]] = []
    for index, arguments in enumerate(messages):
        message_id = str(arguments.get("message_id") or f"{task_id}-{index}")
        merged = {**common, **arguments}
        try:
            good.append(one_outgoing((), merged, settings=settings, message_id=message_id))
        except InvalidMessage as exc:
            bad.append((message_id, split_callbacks(merged)[1], exc.redacted()))
    return good, bad


class _MailTask(Task):  # type: ignore[misc]
    """What the sending tasks share: arguments become plain values, and the mail stays out of Celery's logs."""

    abstract = True

    def _publish(self, args: Any, kwargs: Arguments, task_id: str | None, options: dict[str, Any]) -> Any:
        # Celery puts the repr of all arguments into the message's headers, its debug log and its events.
        options.setdefault("argsrepr", "(…)" if args else "()")
        options.setdefault("kwargsrepr", "{…}" if kwargs else "{}")
        return super().apply_async(args, kwargs, task_id=task_id, **options)

    @staticmethod
    def _is_published_by_celery(options: Mapping[str, Any]) -> bool:
        """True for a retry, and for what a finished task publishes: the next of a chain, a link.

        An error raised there would hit the task before, whose result Celery would then not store.
        """
        return "parent_id" in options or bool(options.get("retries"))


class SendTask(_MailTask):
    """The base of tasks that take the arguments of one mail."""

    abstract = True

    #: Keyword arguments of the task itself, which are none of its mail's.
    own_arguments: tuple[str, ...] = ()

    def signature(self, args: Any = None, kwargs: Arguments | None = None, *rest: Any, **options: Any) -> Any:
        # A signature inside a canvas is serialised by Celery as it stands: make its arguments plain now.
        mail, own = self._split(kwargs)
        return super().signature(args, {**dump_arguments(mail), **own}, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Arguments | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """As `Task.apply_async`. Raises `InvalidMessage` for arguments that cannot be sent."""
        mail, own = self._split(kwargs)
        plain = dump_arguments(mail)
        if not self._is_published_by_celery(options):
            settings = get_runtime(self.app).settings
            outgoing = one_outgoing(args or (), plain, settings=settings, message_id=task_id or str(uuid4()))
            # Only the encoding shows whether the proxy can express the mail; the caller is who can still change it.
            encode(outgoing.message)
        return self._publish(args, {**plain, **own}, task_id, options)

    def _split(self, kwargs: Arguments | None) -> tuple[dict[str, Any], dict[str, Any]]:
        mail = dict(kwargs or {})
        return mail, {name: mail.pop(name) for name in self.own_arguments if name in mail}


class SendManyTask(_MailTask):
    """The base of the task that takes a list of mails; called directly, it is one task for each chunk."""

    abstract = True

    def signature(self, args: Any = None, kwargs: Arguments | None = None, *rest: Any, **options: Any) -> Any:
        args, kwargs = _dump_many(args, kwargs)
        return super().signature(args, kwargs, *rest, **options)

    def apply_async(
        self, args: Any = None, kwargs: Arguments | None = None, task_id: str | None = None, **options: Any
    ) -> Any:
        """A `GroupResult` with one result for each chunk; within a canvas the one task's `AsyncResult`.

        Raises `InvalidMessage` for the first message that cannot be sent, as `messages[3].to`; nothing is published
        then.
        """
        args, plain = _dump_many(args, kwargs)
        if self._is_published_by_celery(options):
            return self._publish(args, plain, task_id, options)
        messages, common = _messages_of(args, plain)
        settings = get_runtime(self.app).settings
        messages = _checked(messages, common, settings)
        if options.get("group_id") or options.get("chord"):
            return self._publish((messages,), common, task_id, options)
        group_id = task_id or str(uuid4())
        size = settings.chunk_size
        with self.app.producer_or_acquire(options.pop("producer", None)) as producer:
            results = [
                self._publish(
                    (messages[start : start + size],),
                    common,
                    f"{group_id}-{start // size}",
                    {**options, "producer": producer},
                )
                for start in range(0, len(messages), size)
            ]
        return GroupResult(group_id, results, app=self.app)


def many_arguments(messages: Sequence[Arguments], common: Arguments, *, settings: Settings) -> list[dict[str, Any]]:
    """The arguments of each of many mails, plain, with what is common to all; checked as a caller's list is.

    Raises `InvalidMessage` for the first that cannot be sent, as `messages[3].to`.
    """
    args, plain = _dump_many((messages,), common)
    given, shared = _messages_of(args, plain)
    _checked(given, shared, settings)
    return [{**shared, **message} for message in given]


def _content(content: Sequence[Any]) -> Arguments:
    if not content:
        return {}
    if len(content) > 1 or not isinstance(content[0], Mapping):
        raise InvalidMessage(
            "content",
            "the task before must return a dict of arguments of send_via_proxy; where its result is of no use, "
            f"write send_via_proxy.si(…), got {type(content[0]).__name__}",
        )
    return content[0]


def _messages_of(args: Any, kwargs: Arguments) -> tuple[list[Arguments], dict[str, Any]]:
    common = dict(kwargs)
    given = list(args or ())
    messages = given[0] if given else common.pop("messages", None)
    if len(given) > 1 or isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise InvalidMessage("messages", f"must be a list of dicts, got {type(messages).__name__}")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise InvalidMessage(f"messages[{index}]", f"must be a dict, got {type(message).__name__}")
    return list(messages), common


def _dump_many(args: Any, kwargs: Arguments | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments, plain. A signature may still await its messages: then there are none."""
    if not args and "messages" not in (kwargs or {}):
        return (), dump_arguments(kwargs or {})
    messages, common = _messages_of(args, kwargs or {})
    plain = []
    for index, message in enumerate(messages):
        try:
            plain.append(dump_arguments(message))
        except InvalidMessage as exc:
            raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc
    return (plain,), dump_arguments(common)


def _checked(messages: Sequence[Arguments], common: Arguments, settings: Settings) -> list[Arguments]:
    """The messages, each with an id of its own, each checked."""
    numbered = [{"message_id": str(uuid4()), **message} for message in messages]
    seen: set[str] = set()
    for index, arguments in enumerate(numbered):
        message_id = str(arguments["message_id"])
        if message_id in seen:
            raise InvalidMessage(f"messages[{index}].message_id", f"must be unique in the list, got {message_id!r}")
        seen.add(message_id)
        try:
            encode(one_outgoing((), {**common, **arguments}, settings=settings, message_id=message_id).message)
        except InvalidMessage as exc:
            raise type(exc)(f"messages[{index}].{exc.argument}", exc.problem) from exc
    return list(numbered)
