"""A whole RFC 5322 message, given as text, bytes or an `EmailMessage`: to text for the broker, and apart again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import errors, policy
from email.message import Message
from email.parser import HeaderParser

from ..errors import InvalidMessage, UnsupportedMessage
from .controls import has_surrogate
from .leaves import AS_IT_IS, make_text, message_bytes, parsed

__all__ = ["RawMessage", "parse_raw", "raw_text"]

#: Headers that may be joined into one where a message has several: lists, by their grammar.
_LISTS = frozenset({"to", "cc", "bcc", "reply-to", "keywords"})

#: Defects after which a part of the headers is missing. What is wrong with the body the recipient gets as it is.
_LOSSES = (
    errors.MissingHeaderBodySeparatorDefect,
    errors.FirstHeaderLineIsContinuationDefect,
    errors.MisplacedEnvelopeHeaderDefect,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """A message in two: the headers (unfolded, still with their encoded words, in order), and the text behind them."""

    headers: dict[str, str]
    body: str

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in any case."""
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)


def raw_text(value: object) -> str:
    """The message as text for the broker: LF line ends, and ASCII wherever it was not text before.

    Text is taken as it is; what is not ASCII in it counts as UTF-8. So are bytes and messages that are UTF-8. Of others
    the contents are encoded, whatever their charset may be: the same bytes arrive. Raises `InvalidMessage`.
    """
    if isinstance(value, Message):
        return _bytes_text(message_bytes(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes_text(bytes(value))
    if not isinstance(value, str):
        raise InvalidMessage(
            "raw", f"must be an EmailMessage or a message as text or bytes, got {type(value).__name__}"
        )
    if has_surrogate(value):
        raise InvalidMessage("raw", "must be text without lone surrogates; give bytes or an EmailMessage")
    return re.sub(r"\r\n?", "\n", value)


def parse_raw(text: str) -> RawMessage:
    """The message's headers and its body. Raises `InvalidMessage` where a header would be lost."""
    message = HeaderParser(policy=policy.compat32).parsestr(text)
    lost = [type(defect).__name__ for defect in message.defects if isinstance(defect, _LOSSES)]
    if lost or not message.keys():
        problem = ", ".join(lost) or "no headers"
        raise InvalidMessage("raw", f"must be a whole message, headers, an empty line and a body ({problem})")
    headers: dict[str, str] = {}
    names: dict[str, str] = {}
    for name, value in message.raw_items():
        unfolded = re.sub(r"\n(?=[ \t])", "", str(value)).strip(" \t")
        first = names.setdefault(name.lower(), name)
        if first not in headers:
            headers[first] = unfolded
        elif name.lower() in _LISTS:
            headers[first] += f", {unfolded}"
        else:
            raise UnsupportedMessage(
                "raw", f"must have each header once: genro-mail-proxy keeps only one of a name; remove it, got {name!r}"
            )
    return RawMessage(headers=headers, body=str(message.get_payload()))


def _bytes_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        # Eight bits in another charset: such bytes mean nothing as text, so they are encoded first.
        message = parsed(data)
        make_text(message)
        text = message.as_bytes(policy=AS_IT_IS).decode("utf-8")
    return re.sub(r"\r\n?", "\n", text)
