"""`MailMessage`: one mail to send, checked. `normalise_arguments` makes a caller's arguments fit for the broker."""

from __future__ import annotations

import difflib
from collections import UserString
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from enum import IntEnum
from typing import Any

from ..errors import InvalidMessage
from .attachment import Attachment
from .raw import raw_text
from .validation import compose

__all__ = ["Attachment", "MailMessage", "Priority", "normalise_arguments"]


class Priority(IntEnum):
    """In which order the proxy sends; `IMMEDIATE` goes before everything else."""

    IMMEDIATE = 0
    HIGH = 1
    MEDIUM = 2
    LOW = 3

    @classmethod
    def parse(cls, value: object) -> Priority:
        """From a number or a name in any case, else `InvalidMessage`."""
        if isinstance(value, str) and value.upper() in cls.__members__:
            return cls[value.upper()]
        if isinstance(value, int) and not isinstance(value, bool) and value in tuple(cls):
            return cls(value)
        names = ", ".join(f"{one.value} ({one.name.lower()})" for one in cls)
        raise InvalidMessage("priority", f"must be one of {names}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailMessage:
    """One mail. Made by `from_arguments`, which checks everything; the constructor checks nothing.

    Addresses are as they stand in a header (`Jané <j@example.com>`, domains in punycode). `from_email` is the visible
    sender; the envelope's is `return_path`, else the address in `from_email`. `headers` are the remaining ones,
    decoded. `send_at` is in unix seconds. `raw` is a whole message as text: then `body` and `attachments` are empty,
    and what its headers say stands in the other fields. `envelope` names who gets the mail where that is not simply
    everybody in `to`, `cc` and `bcc`.
    """

    message_id: str
    from_email: str
    subject: str = ""
    body: str | None = field(default=None, repr=False)
    html_body: str | None = field(default=None, repr=False)
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    envelope: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    reply_to: tuple[str, ...] = ()
    return_path: str | None = None
    priority: Priority = Priority.MEDIUM
    account_id: str | None = None
    tenant_id: str | None = None
    batch_code: str | None = None
    send_at: int | None = None
    server: str = "default"
    raw: str | None = field(default=None, repr=False)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets the mail: to, cc and bcc, or the envelope."""
        return self.envelope or self.to + self.cc + self.bcc

    @classmethod
    def from_arguments(
        cls, arguments: Mapping[str, Any], *, message_id: str, default_from: str | None = None
    ) -> MailMessage:
        """The mail that a caller's keyword arguments of `send_via_proxy` describe.

        `message_id` counts where the arguments hold none, `default_from` where neither they nor the raw message name
        a sender. Raises `InvalidMessage` for what is wrong, `UnsupportedMessage` for what the proxy cannot express.
        """
        plain = {"message_id": message_id, **normalise_arguments(arguments)}
        composed: dict[str, Any] = compose(plain, default_from=default_from)
        composed["priority"] = Priority(plain.get("priority", Priority.MEDIUM))
        return cls(**composed)

    def to_json(self) -> dict[str, Any]:
        """A plain object; what is not set is left out."""
        plain: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                plain[one.name] = list(value) if isinstance(value, tuple) else value
        plain["priority"] = int(self.priority)
        plain["attachments"] = [attachment.to_json() for attachment in self.attachments]
        plain["headers"] = dict(self.headers)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> MailMessage:
        """From the object that `to_json` makes; for those of one's own making there is `from_arguments`."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        values["priority"] = Priority(plain.get("priority", Priority.MEDIUM))
        values["attachments"] = tuple(Attachment.from_json(one) for one in plain.get("attachments", ()))
        values["headers"] = tuple((str(name), str(value)) for name, value in plain.get("headers", {}).items())
        return cls(**values)


def normalise_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A caller's keyword arguments as plain JSON values, for the broker. Doing it twice changes nothing.

    Messages become text, aware datetimes unix seconds, attachments objects, priorities numbers, a single address a
    list; None is left out. Nothing needs to be complete yet. Raises `InvalidMessage` for an unknown argument and for a
    value that cannot be converted.
    """
    plain: dict[str, Any] = {}
    for name, value in arguments.items():
        convert = _CONVERTERS.get(name)
        if convert is None:
            near = difflib.get_close_matches(str(name), _CONVERTERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(_CONVERTERS))}"
            raise InvalidMessage(str(name), f"is not an argument of a mail; {hint}")
        if value is not None:
            plain[name] = convert(name, value)
    return plain


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        # A plain str also of a subclass: some serialisers refuse those (Django's SafeString).
        return str.__getitem__(value, slice(None))
    # Text that is translated or decoded when it is used: Django's lazy strings, the email package's headers.
    if isinstance(value, (Header, UserString)) or type(value).__name__ == "__proxy__":
        return str(value)
    raise InvalidMessage(name, f"must be text, got {value!r}")


def _identifier(name: str, value: object) -> str:
    # Keys of a database are numbers often enough, and mean the same as text.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(name, value)


def _addresses(name: str, value: object) -> list[str]:
    if isinstance(value, (str, Address, UserString)) or not isinstance(value, Iterable):
        value = [value]
    if isinstance(value, (bytes, Mapping)):
        raise InvalidMessage(name, f"must be an address or a list of addresses, got {value!r}")
    items = sorted(value) if isinstance(value, (set, frozenset)) else value
    return [
        str(item) if isinstance(item, Address) else _text(f"{name}[{index}]", item) for index, item in enumerate(items)
    ]


def _attachments(name: str, value: object) -> list[dict[str, Any]]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidMessage(name, f"must be a list of attachments, got {type(value).__name__}")
    plain = []
    for index, item in enumerate(value):
        try:
            plain.append(Attachment.from_any(item).to_json())
        except InvalidMessage as exc:
            raise type(exc)(f"{name}[{index}]", exc.problem) from exc
    return plain


def _headers(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidMessage(name, f"must be a dict of header names and values, got {type(value).__name__}")
    headers: dict[str, str] = {}
    for key, item in value.items():
        if item is not None:
            headers[_text(name, key)] = _identifier(f"{name}[{key!r}]", item)
    return headers


def _send_at(name: str, value: object) -> int:
    remedy = "must be unix seconds or an aware datetime"
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise InvalidMessage(name, f"{remedy}: add a timezone, as datetime.now(timezone.utc) has, got {value!r}")
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidMessage(name, f"{remedy}, got {value!r}")
    if not 0 <= value < 2**53:
        raise InvalidMessage(name, f"{remedy}, and not before 1970, got {value!r}")
    return int(value)


_CONVERTERS: dict[str, Callable[[str, Any], Any]] = {
    "subject": _text,
    "body": _text,
    "from_email": _text,
    "to": _addresses,
    "cc": _addresses,
    "bcc": _addresses,
    "html_body": _text,
    "attachments": _attachments,
    "headers": _headers,
    "reply_to": _addresses,
    "return_path": _text,
    "priority": lambda name, value: int(Priority.parse(value)),
    "account_id": _identifier,
    "tenant_id": _identifier,
    "batch_code": _identifier,
    "send_at": _send_at,
    "message_id": _identifier,
    "server": _text,
    "raw": lambda name, value: raw_text(value),
}
