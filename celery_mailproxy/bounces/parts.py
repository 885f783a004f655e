"""The parts of a mail, as far as a damaged or strange one has them. Nothing here raises for what a mail says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime
from typing import TypeAlias

__all__ = ["address_in", "addresses_in", "blocks_of", "header", "headers", "moment_of", "outer_parts", "text_of"]

_Mail: TypeAlias = "Message[str, str]"

_BLANK_LINE = re.compile(rb"\r?\n[ \t]*\r?\n")
#: No longer than addresses are: a pattern without a bound takes minutes for a mail made to that end.
_ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"@]{1,64}@[^\s<>()\[\]:;,\"@]{1,255}")

#: What a server says comes first; of a longer text the rest is what it quotes.
_MAX_TEXT_LENGTH = 65536


def header(mail: _Mail, name: str) -> str:
    """A header's decoded text on one line; "" where there is none."""
    return next(iter(headers(mail, name)), "")


def headers(mail: _Mail, name: str) -> list[str]:
    """The decoded texts of all headers of that name."""
    return [_decoded(value) for value in mail.get_all(name, [])]


def outer_parts(mail: _Mail) -> Iterator[_Mail]:
    """The mail and its parts, not those of a mail that it carries: the original may be a bounce itself."""
    yield mail
    if mail.is_multipart() and mail.get_content_maintype() == "multipart":
        for part in _payload(mail):
            yield from outer_parts(part)


def text_of(part: _Mail) -> str:
    """The text of a part that holds no others, or the beginning of a long one."""
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError):
        content = None
    if not isinstance(content, bytes):
        return ""
    charset = part.get_content_charset("utf-8")
    for name in (charset, "utf-8"):
        try:
            return content.decode(name)[:_MAX_TEXT_LENGTH]
        except (LookupError, UnicodeError, ValueError):
            continue
    return content.decode("latin-1")[:_MAX_TEXT_LENGTH]


def blocks_of(part: _Mail) -> list[_Mail]:
    """The blocks of fields of a report part (RFC 3464, 2.1; RFC 5965, 2.), in whatever encoding it travels."""
    content = _content(part)
    blocks = (block.strip(b"\r\n") for block in _BLANK_LINE.split(content))
    return [BytesHeaderParser().parsebytes(block + b"\n\n") for block in blocks if block]


def address_in(text: str) -> str | None:
    """The first mail address in a text such as `rfc822; <Ann@example.com>`."""
    match = _ADDRESS.search(text)
    return match[0].strip("'.") if match else None


def addresses_in(mail: _Mail, names: Sequence[str]) -> list[str]:
    """The addresses of the headers of these names."""
    values = [value for name in names for value in headers(mail, name)]
    return [address for _, address in getaddresses(values) if "@" in address]


def moment_of(text: str) -> datetime | None:
    """The moment of a Date header, aware; None where nobody can read it."""
    try:
        moment = parsedate_to_datetime(text)
        # Without a zone it is what servers count in.
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _decoded(value: object) -> str:
    text = str(value)
    with suppress(ValueError, LookupError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.split())


def _payload(mail: _Mail) -> list[_Mail]:
    payload = mail.get_payload()
    return [part for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []


def _content(part: _Mail) -> bytes:
    parts = _payload(part)
    if not parts:
        content = part.get_payload(decode=True)
        return content if isinstance(content, bytes) else b""
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding in ("base64", "quoted-printable"):
        # The parser took the encoded text for fields: a plain part with the same text is decoded.
        plain: _Mail = Message()
        plain["Content-Transfer-Encoding"] = encoding
        plain.set_payload(b"\n".join(each.as_bytes() for each in parts).decode("ascii", "replace").strip())
        content = plain.get_payload(decode=True)
        return content if isinstance(content, bytes) else b""
    return b"\n\n".join(each.as_bytes().strip() for each in parts)
