"""The content of parts in ASCII lines that the proxy leaves as they are: the same bytes, encoded."""

from __future__ import annotations

import base64
import quopri
import re
from email import message_from_bytes, policy
from email.message import Message
from typing import Any

from ..errors import InvalidMessage
from .controls import check_headers
from .headers import LINE_LENGTH, unfolded
from .parameters import read_media

__all__ = [
    "AS_IT_IS",
    "SourcePolicy",
    "encode_content",
    "header_text",
    "is_safe",
    "make_text",
    "message_bytes",
    "parsed",
]


class SourcePolicy(policy.EmailPolicy):
    """Headers that have been parsed stay what they were; they are not read by the grammar that the proxy reads by.

    Writing a message asks for its Content-Type: a boundary that the grammar cuts off would not be that of the header.
    """

    def header_fetch_parse(self, name: str, value: Any) -> Any:
        return value if hasattr(value, "name") else unfolded(str(value))


#: For writing a message: nothing is folded, and nothing encoded.
AS_IT_IS: Any = SourcePolicy(cte_type="8bit", linesep="\n", max_line_length=0, utf8=True)
_UNSAFE = re.compile(rf"[^\n]{{{LINE_LENGTH + 1},}}|[^\x01-\x7f]|\r")


def is_safe(text: str) -> bool:
    """Whether the proxy leaves the text as it is."""
    return _UNSAFE.search(text) is None


def parsed(data: bytes) -> Message:
    """A message or a part from its bytes, its headers as they stand there: no newer policy reads what programs do."""
    try:
        message = message_from_bytes(data, policy=policy.compat32)
    except Exception as exc:
        # On broken Content headers the standard library raises whatever it stumbles over.
        raise InvalidMessage("raw", f"must have Content headers that can be read ({type(exc).__name__})") from exc
    for part in message.walk():
        _mend_parameters(part)
    return message


def _mend_parameters(part: Message) -> None:
    try:
        part.get_params()
    except Exception:
        media = read_media("Content-Type", header_text(str(part["Content-Type"])))
        part.replace_header("Content-Type", media.on_one_line if media.value else "text/plain")


def message_bytes(message: Message) -> bytes:
    """The message as bytes with LF line ends, its contents as they are, its headers unfolded and in UTF-8.

    Unfolded and in UTF-8, because the `email` package of some Python releases loses a space where it folds encoded
    words, and makes one of an international domain.
    """
    rules: dict[str, Any] = {"cte_type": "8bit", "linesep": "\n", "max_line_length": 0}
    if isinstance(message.policy, policy.EmailPolicy):
        rules["utf8"] = True
    try:
        # What its header objects have decoded is written decoded, line breaks and all.
        check_headers(message)
        return message.as_bytes(policy=message.policy.clone(**rules))
    except InvalidMessage:
        raise
    except Exception as exc:
        # A message put together wrongly fails somewhere inside the standard library's generator.
        raise InvalidMessage("raw", f"must be a message that can be serialised ({exc})") from exc


def encode_content(part: Message) -> None:
    """Encode a part's content, if the proxy would not leave it as it is. A charset is never asked for, nor changed."""
    payload = part.get_payload()
    if not isinstance(payload, str) or is_safe(payload):
        return
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise InvalidMessage("raw", "must have parts that can be decoded")
    if part.get_content_maintype() in ("message", "multipart"):
        raise InvalidMessage("raw", f"must have a whole {part.get_content_type()} part, with boundary and headers")
    encoded, encoding = base64.encodebytes(content).decode("ascii"), "base64"
    if part.get_content_maintype() == "text" and is_safe(readable := quopri.encodestring(content).decode("ascii")):
        encoded, encoding = readable, "quoted-printable"
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding
    part.set_payload(encoded)


def make_text(message: Message) -> None:
    """Make a message text that was bytes of no known charset, at every level: contents are encoded, headers decoded."""
    if "content-type" not in message:
        # Without, the proxy says that it were UTF-8.
        message["Content-Type"] = "text/plain"
    for part in message.walk():
        _decode_headers(part)
        if part.is_multipart():
            part.preamble = None if part.preamble is None else header_text(part.preamble)
            part.epilogue = None if part.epilogue is None else header_text(part.epilogue)
        elif not str(part.get_payload()).isascii():
            encode_content(part)


def _decode_headers(part: Message) -> None:
    sources = [(name, str(value)) for name, value in part.raw_items()]
    if all(value.isascii() for _, value in sources):
        return
    for name in set(part.keys()):
        del part[name]
    for name, value in sources:
        part.set_raw(name, header_text(value))


def header_text(source: str) -> str:
    """A text whose foreign bytes the parser has kept as lone surrogates: UTF-8 (RFC 6532), else taken for Latin-1."""
    data = source.encode("utf-8", "surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")
