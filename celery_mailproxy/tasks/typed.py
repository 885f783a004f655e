"""The types of the sending tasks: what they take, for type checkers and for people. Celery's own decorator has none.

A misspelt argument of `.delay()`, `.s()` and `.si()` is an error for a type checker, before it is one when it is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import Message
from inspect import Parameter, Signature
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar

from celery.canvas import Signature as TaskSignature
from celery.result import AsyncResult, GroupResult

from ..mail.attachment import Attachment
from ..mail.priority import Priority

if TYPE_CHECKING:
    # A type checker brings it along; at run time nobody needs it.
    from typing_extensions import Unpack

__all__ = [
    "DeliverArguments",
    "DeliverViaProxy",
    "MailArguments",
    "SendArguments",
    "SendManyViaProxy",
    "SendViaProxy",
    "of_type",
    "signature_of",
]

Text = str | Header
Identifier = str | int
Addresses = str | Address | Iterable[str | Address]
AnyAttachment = (
    Attachment | Message | PathLike[str] | Mapping[str, Any] | tuple[Any] | tuple[Any, Any] | tuple[Any, Any, Any]
)

#: A Celery signature, or several.
Callback = Any

Task = TypeVar("Task")


class MailArguments(TypedDict, total=False):
    """The arguments of one mail; `docs/how-to/sending.md` says what each means."""

    subject: Text | None
    body: Text | None
    from_email: Text | None
    to: Addresses | None
    cc: Addresses | None
    bcc: Addresses | None
    html_body: Text | None
    attachments: Iterable[AnyAttachment] | None
    headers: Mapping[str, str | int | None] | None
    reply_to: Addresses | None
    return_path: Text | None
    priority: Priority | int | str | None
    account_id: Identifier | None
    tenant_id: Identifier | None
    batch_code: Identifier | None
    metadata: Mapping[str, Any] | None
    tags: str | Iterable[str] | None
    send_at: datetime | float | None
    expires_at: datetime | float | None
    message_id: Identifier | None
    server: str | None
    raw: str | bytes | bytearray | memoryview | Message | None
    on_sent: Callback
    on_error: Callback
    on_deferred: Callback
    on_bounced: Callback


class SendArguments(MailArguments, total=False):
    """Those of `send_via_proxy`."""

    per_recipient: bool


class DeliverArguments(SendArguments, total=False):
    """Those of `deliver_via_proxy`."""

    collect: bool


class _Task(Protocol):
    """What else a Celery task has."""

    name: str

    def __getattr__(self, name: str, /) -> Any: ...


class SendViaProxy(_Task, Protocol):
    """The type of `send_via_proxy`. `content` is what the task before it in a chain returned."""

    def __call__(self, *content: Mapping[str, Any], **arguments: Unpack[SendArguments]) -> dict[str, Any]: ...

    def delay(self, *content: Mapping[str, Any], **arguments: Unpack[SendArguments]) -> AsyncResult: ...

    def s(self, *content: Mapping[str, Any], **arguments: Unpack[SendArguments]) -> TaskSignature: ...

    def si(self, *content: Mapping[str, Any], **arguments: Unpack[SendArguments]) -> TaskSignature: ...


class DeliverViaProxy(_Task, Protocol):
    """The type of `deliver_via_proxy`."""

    def __call__(self, *content: Mapping[str, Any], **arguments: Unpack[DeliverArguments]) -> dict[str, Any]: ...

    def delay(self, *content: Mapping[str, Any], **arguments: Unpack[DeliverArguments]) -> AsyncResult: ...

    def s(self, *content: Mapping[str, Any], **arguments: Unpack[DeliverArguments]) -> TaskSignature: ...

    def si(self, *content: Mapping[str, Any], **arguments: Unpack[DeliverArguments]) -> TaskSignature: ...


class SendManyViaProxy(_Task, Protocol):
    """The type of `send_many_via_proxy`. In a chain the task before it may return the messages."""

    def __call__(self, messages: Sequence[Mapping[str, Any]], **common: Unpack[MailArguments]) -> dict[str, Any]: ...

    def delay(self, messages: Sequence[Mapping[str, Any]], **common: Unpack[MailArguments]) -> GroupResult: ...

    def s(self, messages: Sequence[Mapping[str, Any]] = ..., **common: Unpack[MailArguments]) -> TaskSignature: ...

    def si(self, messages: Sequence[Mapping[str, Any]], **common: Unpack[MailArguments]) -> TaskSignature: ...


def of_type(kind: Callable[..., Task]) -> Callable[[Any], Task]:
    """A decorator that says of which of these types a task is, and leaves it as it is."""

    def decorate(task: Any) -> Task:
        kept: Task = task
        return kept

    return decorate


def signature_of(positional: str, arguments: Any) -> Signature:
    """What `inspect.signature` and editors show of a task with these arguments, all of which may be left out.

    `positional` is what comes before them: `*content`, or `messages`.
    """
    kind = Parameter.VAR_POSITIONAL if positional.startswith("*") else Parameter.POSITIONAL_OR_KEYWORD
    return Signature(
        [
            Parameter(positional.removeprefix("*"), kind),
            *(Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in arguments.__annotations__),
        ]
    )
