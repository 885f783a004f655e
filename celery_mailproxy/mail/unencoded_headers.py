"""Headers that no reader decodes: an encoded word makes them useless.

The proxy turns every word that is longer than a line into an encoded word. People's programs decode those, where text
is for people; programs that read ids, URLs, signatures and the settings of an email service do not. So such a word is
cut where white space means nothing there, and refused where it would mean something.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable

from ..errors import UnsupportedMessage
from .headers import LINE_LENGTH

__all__ = ["left_out", "unencoded"]

logger = logging.getLogger(__name__)

#: Never encoded, wherever they come from: headers of the standards, and those by which email services are told things.
_NAMES = re.compile(
    r"references|in-reply-to|list-.*|dkim-signature|arc-.*|received|authentication-results|autocrypt.*|x?-?face"
    r"|feedback-id|x-(smtpapi|sg|msys|sparkpost|pm|postmark|mc|mandrill|mailgun|mg|ses|aws|mj|mailjet|sib|mailin|brevo"
    r"|resend|elastic|socketlabs|xsm|scaleway|tm|mailersend|unisender)(-.*|api)?"
)
#: Text for people, which their programs decode.
_PROSE = frozenset({"subject", "comments", "keywords", "organization", "thread-topic"})
_IDS = frozenset({"references", "in-reply-to"})
_URL = re.compile(r"<[^<>]+>")
_ID = re.compile(r"<[^<>]*>|[^\s<>]+")
#: Values that may have white space anywhere: base64 (RFC 6376, 3.2; Autocrypt, 2.1), and lists.
_CUTTABLE = re.compile(r"(b|bh|keydata)=|(h)=", re.IGNORECASE)
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|\s+|[^\s"{}\[\]:,]+')

#: A line begins with a space, and a comma may follow.
_MAX_WORD_LENGTH = LINE_LENGTH - 1
_PIECE_LENGTH = _MAX_WORD_LENGTH - 1


def unencoded(name: str, value: str, *, is_strict: bool) -> str:
    """The value in words that fit a line each, if encoded words are of no use in it; empty where nothing of it fits.

    With `is_strict`, they are in every header but those for people; else, in a message that exists, only in those that
    are known. Raises `UnsupportedMessage` for a word that can be neither cut nor left out.
    """
    lower = name.lower()
    is_known = _NAMES.fullmatch(lower) is not None
    if lower not in _PROSE and _is_json(value):
        value = _spaced_json(value)
    elif not _long_words(value) or not (is_known or (is_strict and lower not in _PROSE and value.isascii())):
        return value
    elif lower.startswith("list-"):
        value = _URL.sub(lambda url: _cut(url.group()), value)
    elif lower in _IDS:
        value = " ".join(filter(None, map(_cut_id, _ID.findall(value))))
    elif lower.endswith("face"):
        value = _cut("".join(value.split()))
    elif "=" in value:
        value = " ".join(_cut_tag(tag) for tag in re.split(r"(?<=;)\s*", value))
    if _long_words(value):
        raise UnsupportedMessage(
            f"headers[{name!r}]",
            f"must have no word of more than {_MAX_WORD_LENGTH} characters: the proxy turns it into encoded words, "
            f"which no program decodes that reads this header; shorten it, or put white space into it, got {value!r}",
        )
    return value


def left_out(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The names of headers of which an id is left out, for it is too long for the proxy."""
    return [
        name
        for name, value in headers
        if name.lower() in _IDS and not all(_cut_id(each) for each in _ID.findall(value))
    ]


def _long_words(value: str) -> bool:
    return any(len(word) > _MAX_WORD_LENGTH for word in value.split())


def _cut(text: str) -> str:
    if len(text) <= _MAX_WORD_LENGTH:
        return text
    return " ".join(text[start : start + _PIECE_LENGTH] for start in range(0, len(text), _PIECE_LENGTH))


def _cut_id(word: str) -> str:
    """An id with a space where RFC 5322, 4.5.4, allows one: behind the `@`, else behind dots. Empty if that is too few.

    Readers that go by it take such a space out again.
    """
    word = word.strip()
    if len(word) <= _MAX_WORD_LENGTH:
        return word
    for pattern in (r"(?<=@)", r"(?<=[@.])"):
        pieces: list[str] = [""]
        for piece in re.split(pattern, word):
            if len(pieces[-1] + piece) > _MAX_WORD_LENGTH:
                pieces.append("")
            pieces[-1] += piece
        if max(map(len, pieces)) <= _MAX_WORD_LENGTH:
            return " ".join(filter(None, pieces))
    return ""


def _cut_tag(tag: str) -> str:
    """`name=value;` with spaces in the value, if it is one that may have them."""
    if len(tag) <= _MAX_WORD_LENGTH or not (cuttable := _CUTTABLE.match(tag)):
        return tag
    if cuttable[2]:
        return tag.replace(":", ": ")
    return _cut("".join(tag.split()))


def _is_json(value: str) -> bool:
    if not value.startswith(("{", "[")) or (value.isascii() and not _long_words(value)):
        return False
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return False
    return True


def _spaced_json(value: str) -> str:
    """The same JSON in ASCII, with a space between two tokens wherever a line would become too long."""
    text = ""
    room = _MAX_WORD_LENGTH
    for token in _JSON_TOKEN.findall(value):
        escaped = token if token.isascii() else "".join(map(_escaped, token))
        first, *others = escaped.split(" ")
        if len(first) > room and text and not text[-1].isspace():
            text, room = f"{text} ", _MAX_WORD_LENGTH
        text += escaped
        room = (_MAX_WORD_LENGTH - len(others[-1])) if others else room - len(first)
    return text


def _escaped(character: str) -> str:
    return character if character.isascii() else json.dumps(character)[1:-1]
