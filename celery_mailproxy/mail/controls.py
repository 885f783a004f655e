"""Control characters in the texts of headers, also those that an encoding hides.

What a header's text hides in encoded words (RFC 2047) or in parameters (RFC 2231) is decoded on the way: by us, by the
`email` package that folds it in the proxy, and by readers. A line break that comes to light there begins a header, or
the content, that whoever wrote the text has chosen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import policy
from email.message import Message
from typing import Any

from ..errors import InvalidMessage
from .headers import read_text, unfolded

__all__ = ["breaks_lines", "check_headers", "has_line_break", "has_surrogate", "hides_line_break", "hides_surrogate"]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Where the `email` package of some Python releases ends a line in a header that it writes as it stands.
_LINE_END = re.compile(r"[\x00\n\x0b\x0c\r\x1c-\x1e]")

#: Stands for an encoded word of which Python cannot make a text.
_NO_TEXT = "\ud800"

#: The beginning of an encoded word, wherever it stands: Python decodes them also within words and quoted strings.
_BEGINNING = re.compile(r"=\?[^?]*\?[bq]\?", re.IGNORECASE)


def has_line_break(text: str) -> bool:
    """Whether the text holds a control character (CR and LF among them; not a tab), which no header may."""
    return _CONTROL.search(text) is not None


def has_surrogate(text: str) -> bool:
    """Whether the text holds a lone surrogate: half of a character, which cannot be encoded."""
    return _SURROGATE.search(text) is not None


def hides_line_break(text: str) -> bool:
    """Whether the text, or what is encoded in it at any depth, holds a control character."""
    return any(map(has_line_break, _readings(text)))


def hides_surrogate(text: str) -> bool:
    """Whether the text, or what is encoded in it at any depth, holds a lone surrogate or cannot be decoded."""
    return any(map(has_surrogate, _readings(text)))


def breaks_lines(name: str, value: str) -> bool:
    """Whether a header of somebody else's message would become several lines when it is decoded or written anew.

    Milder than `hides_line_break`: old Japanese mails have escape characters in their headers.
    """
    texts = (value, *_parameter_values(name, value))
    return any(_LINE_END.search(reading) for text in texts for reading in _readings(text))


def check_headers(message: Message) -> None:
    """Raise `InvalidMessage` for a header, of the message or a part at any depth, that would become several lines."""
    for part in message.walk():
        for name, source in part.raw_items():
            # A plain text is the source as it was parsed; all else has been decoded.
            value = unfolded(source) if type(source) is str else str(source)
            if breaks_lines(name, value):
                raise InvalidMessage(
                    f"headers[{name!r}]", f"must hold no line break, not even an encoded one, got {value!r}"
                )


def _parameter_values(name: str, value: str) -> tuple[str, ...]:
    """The decoded values of a Content-Type or Content-Disposition header's parameters; none where it is broken.

    By the parser that also folds these headers.
    """
    if name.lower() not in ("content-type", "content-disposition"):
        return ()
    try:
        header: Any = policy.default.header_factory(name, value)
        return tuple(map(str, header.params.values()))
    except Exception:
        # On broken input the standard library's parser raises whatever it stumbles over.
        return ()


def _readings(text: str) -> Iterator[str]:
    """The text, what its encoded words say, what the encoded words in that say, and so on: each is shorter."""
    yield text
    for word in _encoded_words(text):
        try:
            decoded = read_text(word)
        except UnicodeError:
            yield _NO_TEXT
            continue
        if decoded != word:
            yield from _readings(decoded)


def _encoded_words(text: str) -> Iterator[str]:
    """What stands between `=?…?q?` and the next `?=`; where several begin before one ends, the first and the last."""
    end = 0
    while (first := _BEGINNING.search(text, end)) is not None:
        close = text.find("?=", first.end())
        if close < 0:
            return
        end = close + 2
        yield text[first.start() : end]
        *_, last = (each.start() for each in _BEGINNING.finditer(text, first.start(), end))
        if last != first.start():
            yield text[last:end]
