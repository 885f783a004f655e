"""Headers with a grammar of their own, worded so that every parser reads them as they are meant.

The proxy's Python parses these, and writes what it has understood. What its grammar does not foresee it cuts off
(`<a;;b@example.com>`), or it stumbles: over `<[x@example.com]>`, as Microsoft makes them, up to Python 3.12, and over
`x*0*` among the parameters until today. The proxy then tries the mail for ever, many times a second.
"""

from __future__ import annotations

import re
from email.utils import format_datetime, parsedate_to_datetime

from .parameters import read_media

__all__ = ["worded_content", "worded_date", "worded_id", "worded_type"]

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PLAIN_ID = re.compile(rf"<{_ATOM}(?:\.{_ATOM})*@{_ATOM}(?:\.{_ATOM})*>")
_PLAIN_TYPE = re.compile(rf"{_ATOM}/{_ATOM}(?:; ?[A-Za-z-]+=[A-Za-z0-9._-]+)*")
_ENCODINGS = re.compile(r"\s*(?:\([^()]*\)\s*)*([!#$%&'*+.^_`{|}~0-9A-Za-z-]+)")
_UNENCODED = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


def worded_id(value: str) -> str:
    """A Message-ID. One that is no plain id as an encoded word, which Python takes for text, and writes decoded."""
    if _PLAIN_ID.fullmatch(value) or not value:
        return value
    return f"=?utf-8?q?{''.join(chr(byte) if byte in _UNENCODED else f'={byte:02X}' for byte in value.encode())}?="


def worded_date(value: str) -> str | None:
    """A date; None for what is none, of which Python would leave an empty header."""
    try:
        return format_datetime(parsedate_to_datetime(value))
    except (IndexError, OverflowError, TypeError, ValueError):
        return None


def worded_content(name: str, value: str) -> str | None:
    """Content-Type, -Disposition or -Transfer-Encoding; None where it says nothing that any program could read."""
    if name.lower() == "content-transfer-encoding":
        matched = _ENCODINGS.match(value)
        return matched[1].lower() if matched else None
    media = read_media(name, value)
    return media.on_one_line if media.value else None


def worded_type(value: str) -> str:
    """The media type of a file that the proxy adds: it makes a Content-Type of it."""
    return value if _PLAIN_TYPE.fullmatch(value) else read_media("Content-Type", value).on_one_line
