"""`normalise_arguments`: a caller's keyword arguments, made fit for the broker."""

from __future__ import annotations

import difflib
import json
import math
import time
from collections import UserString
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from typing import Any

from ..errors import InvalidMessage, shown
from .attachment import Attachment
from .priority import Priority
from .raw import raw_text

__all__ = ["ARGUMENTS", "TASK_ARGUMENTS", "normalise_arguments"]


#: What the sending tasks take beside a mail's arguments: named where somebody mistypes one.
TASK_ARGUMENTS = ("on_bounced", "on_deferred", "on_error", "on_sent", "per_recipient")

#: Others' words, in Django, SMTP libraries and services' clients, for ours.
_SYNONYMS: Mapping[str, str] = {
    "attachment": "attachments",
    "content": "body",
    "files": "attachments",
    "from": "from_email",
    "from_": "from_email",
    "from_address": "from_email",
    "html": "html_body",
    "html_content": "html_body",
    "html_message": "html_body",
    "message": "body",
    "plain": "body",
    "recipient": "to",
    "recipient_list": "to",
    "recipients": "to",
    "replyto": "reply_to",
    "sender": "from_email",
    "text": "body",
    "text_body": "body",
    "to_email": "to",
    "to_emails": "to",
}

#: 9999-12-31T23:59:59Z: a Date header of a later moment cannot be written.
_LAST_SECOND = 253_402_300_799

_MAX_METADATA_BYTES = 4096
_MAX_TAGS = 20
_MAX_TAG_LENGTH = 64

#: Three years. What is more is a moment, and no time from now: 10⁸ unix seconds were over in 1973.
_LONGEST_SECONDS = 100_000_000


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
            raise InvalidMessage(str(name), f"is not an argument of an email; {_hint(str(name))}")
        if value is not None:
            plain[name] = convert(name, value)
    return plain


def _hint(name: str) -> str:
    known = sorted({*_CONVERTERS, *TASK_ARGUMENTS})
    near = [_SYNONYMS[name.lower()]] if name.lower() in _SYNONYMS else difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        # A plain str also of a subclass: some serialisers refuse those (Django's SafeString).
        return str.__getitem__(value, slice(None))
    # Text that is translated or decoded when it is used: Django's lazy strings, the email package's headers.
    if isinstance(value, (Header, UserString)) or type(value).__name__ == "__proxy__":
        return str(value)
    raise InvalidMessage(name, f"must be text, got {shown(value)}")


def _identifier(name: str, value: object) -> str:
    # Keys of a database are numbers often enough, and mean the same as text.
    if isinstance(value, bool) or not isinstance(value, int):
        return _text(name, value)
    try:
        return str(value)
    except ValueError as exc:
        raise InvalidMessage(name, f"must be a number of fewer digits: {exc}") from exc


def _addresses(name: str, value: object) -> list[str]:
    if isinstance(value, (str, Address, UserString)) or not isinstance(value, Iterable):
        value = [value]
    if isinstance(value, (bytes, Mapping)):
        raise InvalidMessage(name, f"must be an address or a list of addresses, got {shown(value)}")
    return [
        str(item) if isinstance(item, Address) else _text(f"{name}[{index}]", item)
        for index, item in enumerate(_in_order(value))
    ]


def _in_order(value: Iterable[Any]) -> Iterable[Any]:
    """A set has no order; the same set gives the same mail."""
    return sorted(value, key=shown) if isinstance(value, (set, frozenset)) else value


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
            headers[_text(name, key)] = _identifier(f"{name}[{shown(key)}]", item)
    return headers


def _metadata(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidMessage(name, f"must be a dict with texts as keys, got {type(value).__name__}")
    try:
        text = json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidMessage(name, f"must hold only what JSON can express: {exc}") from exc
    if len(text.encode()) > _MAX_METADATA_BYTES:
        raise InvalidMessage(name, f"must be at most {_MAX_METADATA_BYTES:,} bytes as JSON, got {len(text.encode()):,}")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _tags(name: str, value: object) -> list[str]:
    if isinstance(value, (str, UserString)) or not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping)):
        value = [value]
    tags = list(dict.fromkeys(_text(f"{name}[{index}]", item).strip() for index, item in enumerate(_in_order(value))))
    for index, tag in enumerate(tags):
        if not 0 < len(tag) <= _MAX_TAG_LENGTH or not tag.isprintable() or "," in tag:
            raise InvalidMessage(
                f"{name}[{index}]", f"must be 1 to {_MAX_TAG_LENGTH} visible characters without a comma, got {tag!r}"
            )
    if len(tags) > _MAX_TAGS:
        raise InvalidMessage(name, f"must be at most {_MAX_TAGS} tags, got {len(tags)}")
    return tags


def _expires_at(name: str, value: object) -> int:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST_SECONDS:
        # As `expires` of a task: so long from now.
        return math.ceil(time.time() + value)
    return _moment(name, value, "must be seconds from now, unix seconds or an aware datetime")


def _send_at(name: str, value: object) -> int:
    return _moment(name, value, "must be unix seconds or an aware datetime")


def _moment(name: str, value: object, remedy: str) -> int:
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise InvalidMessage(name, f"{remedy}: add a timezone, as datetime.now(timezone.utc) has, got {value!r}")
        try:
            value = value.timestamp()
        except (OverflowError, ValueError) as exc:
            # Such as the NaT of pandas, which calls itself a datetime.
            raise InvalidMessage(name, f"{remedy}, got {shown(value)}") from exc
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidMessage(name, f"{remedy}, got {shown(value)}")
    if not 0 <= value <= _LAST_SECOND:
        raise InvalidMessage(name, f"{remedy} (no milliseconds), from 1970 to the end of 9999, got {shown(value)}")
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
    "metadata": _metadata,
    "tags": _tags,
    "send_at": _send_at,
    "expires_at": _expires_at,
    "message_id": _identifier,
    "server": _text,
    "raw": lambda name, value: raw_text(value),
}

#: The keyword arguments of a mail.
ARGUMENTS = frozenset(_CONVERTERS)
