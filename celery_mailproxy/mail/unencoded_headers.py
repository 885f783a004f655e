"""Headers that no reader decodes: an encoded word makes them useless.

The proxy turns every word that is longer than a line into an encoded word. So there may be none: a URL in a List header
is cut by spaces, which readers ignore (RFC 2369, 2); an id of another message cannot be cut, and is left out.
"""

from __future__ import annotations

import logging
import re

from ..errors import UnsupportedMessage
from .headers import LINE_LENGTH

__all__ = ["is_never_encoded", "shortened"]

logger = logging.getLogger(__name__)

_NAMES = re.compile(r"references|in-reply-to|list-.*|dkim-signature|arc-.*|received|authentication-results")
_URL = re.compile(r"<[^<>]+>")

#: A line begins with a space, and a comma may follow.
_MAX_WORD_LENGTH = LINE_LENGTH - 1
_PIECE_LENGTH = _MAX_WORD_LENGTH - 1


def is_never_encoded(name: str) -> bool:
    """Whether this is such a header; in whatever case."""
    return _NAMES.fullmatch(name.lower()) is not None


def shortened(name: str, value: str, *, message_id: str) -> str:
    """The value in words that fit a line each; empty where nothing of it does.

    Raises `UnsupportedMessage` for a word that can be neither cut nor left out. `message_id` is for the log.
    """
    if not _long_words(value):
        return value
    lower = name.lower()
    if lower.startswith("list-"):
        value = _URL.sub(lambda url: _cut(url.group()), value)
    elif lower in ("references", "in-reply-to"):
        value = " ".join(word for word in value.split() if len(word) <= _MAX_WORD_LENGTH)
        # Not which: an id looks like an address.
        logger.warning("message %s: an id in %s is too long for the proxy, and was left out", message_id, name)
    if _long_words(value):
        raise UnsupportedMessage(
            f"headers[{name!r}]",
            f"must have no word of more than {_MAX_WORD_LENGTH} characters: the proxy turns it into encoded words, "
            f"which no reader decodes in this header, got {value!r}",
        )
    return value


def _long_words(value: str) -> bool:
    return any(len(word) > _MAX_WORD_LENGTH for word in value.split())


def _cut(url: str) -> str:
    if len(url) <= _MAX_WORD_LENGTH:
        return url
    return " ".join(url[start : start + _PIECE_LENGTH] for start in range(0, len(url), _PIECE_LENGTH))
