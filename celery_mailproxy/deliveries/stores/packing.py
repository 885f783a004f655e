"""Texts, times and JSON in the form that every store and every script takes: short, exact, on one line."""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any
from uuid import UUID

from ...errors import StoreError

__all__ = ["dump_json", "pack_claim", "pack_text", "pack_time", "unpack_claim", "unpack_text", "unpack_time"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

# A lone surrogate comes from a JSON escape on the wire: legal there, but neither UTF-8 nor cjson can say it.
_NEEDS_ESCAPE = re.compile("[\\\\\x00-\x1f\ud800-\udfff]")
_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def pack_claim(claim: str | None, message_id: str) -> str | None:
    """A claim as a text: `=` for the message id itself, `~` and 22 characters for a UUID, else as it is."""
    if claim is None:
        return None
    if claim == message_id:
        return "="
    if _UUID.fullmatch(claim):
        return _pack_uuid(claim)
    packed: str = pack_text("=" + claim if claim[:1] in ("=", "~") else claim)
    return packed


# All reports of a chunk have the same claim.


@lru_cache(maxsize=128)
def _pack_uuid(claim: str) -> str:
    return "~" + urlsafe_b64encode(UUID(claim).bytes).rstrip(b"=").decode()


@lru_cache(maxsize=128)
def _unpack_uuid(text: str) -> str:
    return str(UUID(bytes=urlsafe_b64decode(text[1:] + "==")))


def unpack_claim(text: str | None, message_id: str) -> str | None:
    if text is None or text == "=":
        return None if text is None else message_id
    if text.startswith("~"):
        return _unpack_uuid(text)
    claim: str = unpack_text(text.removeprefix("="))
    return claim


def pack_text(text: str | None) -> Any:
    """The text in characters that every store and script takes; most texts are themselves. None stays None."""
    if text is None or not _NEEDS_ESCAPE.search(text):
        return text
    return json.dumps(text)[1:-1]


def unpack_text(text: str | None) -> Any:
    """The inverse of `pack_text`."""
    if text is None or "\\" not in text:
        return text
    return json.loads(f'"{text}"')


def pack_time(at: datetime) -> str:
    """An aware time as whole microseconds since 1970 in base 36."""
    microseconds = (at - _EPOCH) // _MICROSECOND
    digits = ""
    rest = abs(microseconds)
    while rest or not digits:
        rest, digit = divmod(rest, 36)
        digits = _DIGITS[digit] + digits
    return digits if microseconds >= 0 else "-" + digits


def unpack_time(text: str) -> datetime:
    """The inverse of `pack_time`, in UTC."""
    return _EPOCH + int(text, 36) * _MICROSECOND


def dump_json(value: Any) -> str:
    """JSON without blanks and line breaks, in UTF-8 where it can be. Raises `StoreError` for what JSON cannot say."""
    try:
        text = _COMPACT.encode(value)
        text.encode()
    except UnicodeEncodeError:
        return _ASCII.encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        raise StoreError(
            f"a delivery must be JSON-able: {exc}; keep to texts, numbers, lists and dicts in signatures"
        ) from exc
    return text


def _mapping_to_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON-able")


# Made once: `json.dumps` makes one for each call that has options.
_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_mapping_to_dict)
_ASCII = json.JSONEncoder(separators=(",", ":"), default=_mapping_to_dict)
