"""Which mail a notice is about: Message-IDs and addresses, from where servers put them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import HeaderParser

from .notice import Clues
from .parts import addresses_in, headers, outer_parts, text_of

__all__ = ["clues_of"]

#: Where the address stands that a notice was sent to.
_ENVELOPE_HEADERS = ("Delivered-To", "X-Original-To", "Envelope-To", "X-Envelope-To", "X-Delivered-To", "To")

#: Where the envelope's sender stands in the mail that comes back, and in reports about it.
_SENDER_HEADERS = ("Return-Path", "X-Envelope-From", "Original-Mail-From", "X-Postfix-Sender")

_WITH_MAIL = frozenset({"message/rfc822", "message/global", "message/partial"})
_WITH_HEADERS = frozenset({"text/rfc822-headers", "message/rfc822-headers", "message/global-headers"})

_ID = re.compile(r"<([^<>\s@]{1,255}@[^<>\s@]{1,255})>")
_ID_LINE = re.compile(
    r"^[>| \t]*(?:Original[- ])?Message-ID:\s*<([^<>\s@]{1,255}@[^<>\s@]{1,255})>", re.IGNORECASE | re.MULTILINE
)


def clues_of(mail: Message[str, str], report: Iterable[Message[str, str]] = ()) -> Clues:
    """The clues of a notice; `report` are the blocks of its report part."""
    originals = list(_originals(mail))
    ids = [each for original in originals for each in _ids(original, "Message-ID")]
    # Those whose server quotes the mail as text, and at last those that only answer it.
    ids += [each for part in outer_parts(mail) if _is_text(part) for each in _ID_LINE.findall(text_of(part))[:1]]
    ids += [each for name in ("X-Original-Message-ID", "In-Reply-To", "References") for each in _ids(mail, name)[-1:]]
    addresses = addresses_in(mail, _ENVELOPE_HEADERS)
    for each in (*report, *originals):
        addresses += addresses_in(each, _SENDER_HEADERS)
    return Clues(message_ids=tuple(dict.fromkeys(ids)), addresses=tuple(dict.fromkeys(addresses)))


def _originals(mail: Message[str, str]) -> Iterator[Message[str, str]]:
    """The headers of the mail that comes back, where a part holds them."""
    for part in outer_parts(mail):
        payload = part.get_payload()
        kind = part.get_content_type()
        if kind in _WITH_MAIL and isinstance(payload, list):
            yield from (each for each in payload if isinstance(each, Message))
        elif kind in _WITH_HEADERS:
            nested = payload[0] if isinstance(payload, list) and payload else None
            yield nested if isinstance(nested, Message) else HeaderParser().parsestr(text_of(part).lstrip())


def _is_text(part: Message[str, str]) -> bool:
    return part.get_content_maintype() == "text" and part.get_content_type() not in _WITH_HEADERS


def _ids(mail: Message[str, str], name: str) -> list[str]:
    return [each for value in headers(mail, name) for each in _ID.findall(value)]
