"""MIME trees that survive the proxy: ASCII in lines of 78 characters, so that it has nothing to encode again.

The proxy sets a tree's text as if it were plain text. Text that is not ASCII, or has one longer line, it would encode
as a whole, and what arrives would be no tree any more.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from email.message import Message, MIMEPart
from hashlib import sha256
from typing import Any, cast

from ..errors import InvalidMessage, UnsupportedMessage
from .addresses import parse_mailboxes
from .attachment import Attachment
from .controls import check_headers, has_line_break
from .headers import LINE_LENGTH, fold_addresses, fold_text, read_text, unfolded
from .leaves import AS_IT_IS, SourcePolicy, encode_content, header_text, is_safe, parsed
from .parameters import MAX_BOUNDARY_LENGTH, MediaHeader, read_media

__all__ = ["attachment_part", "has_control", "multipart", "parse_tree", "text_part", "tree_text"]

_POLICY: Any = SourcePolicy(cte_type="7bit", linesep="\n", max_line_length=LINE_LENGTH)
#: Of the control characters, text may hold these; others make it travel as base64, for servers may choke on them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ADDRESS_HEADERS = frozenset({"from", "sender", "to", "cc", "reply-to", "resent-from", "resent-to", "resent-cc"})
_MAX_CONTENT_ID_LENGTH = LINE_LENGTH - len(" <>")


def has_control(text: str) -> bool:
    """Whether the text holds control characters that are neither a tab nor a line end."""
    return _CONTROL.search(text.replace("\r\n", "\n").replace("\r", "\n")) is not None


def text_part(text: str, subtype: str) -> MIMEPart:
    """A `text/plain` or `text/html` part: 7-bit, quoted-printable or base64, whichever is shortest and safe."""
    # Quoted-printable allows 76 characters only (RFC 2045, 6.7).
    part = MIMEPart(policy=_POLICY.clone(max_line_length=76))
    part.set_content(text, subtype=subtype, charset="utf-8", cte="base64" if has_control(text) else None)
    return part


def multipart(kind: str, parts: Sequence[Message], *, seed: str) -> Message:
    """A multipart of the parts.

    Its boundary follows from the kind and the seed: a retry sends the same text. The seed has to come from the content,
    for whoever writes a part's text must not be able to foresee the boundary.
    """
    value = f'multipart/{kind}; boundary="=_{sha256(f"{kind} {seed}".encode()).hexdigest()[:40]}"'
    if kind == "related":
        # RFC 2387, 3.1: it says what the root, the first part, is.
        value += f'; type="{parts[0].get_content_type()}"'
    container: Message = MIMEPart(policy=_POLICY)
    container["Content-Type"] = value
    for part in parts:
        container.attach(part)
    return container


def attachment_part(attachment: Attachment) -> Message:
    """The part of an attachment that has content."""
    content = cast(bytes, attachment.content)
    if attachment.is_part:
        return parse_tree(content)
    part = MIMEPart(policy=_POLICY)
    media = read_media("Content-Type", cast(str, attachment.mime_type))
    if media.value == "message/rfc822":
        part.set_payload([parse_tree(content)])
        media = replace(media, parameters=())
    else:
        part.set_content(content, *media.value.split("/"))
        del part["Content-Type"]
    named = (("filename", attachment.filename),) if attachment.filename else ()
    disposition = MediaHeader(value=attachment.disposition, parameters=named)
    for name, each in (("Content-Type", media), ("Content-Disposition", disposition)):
        part.set_raw(name, _media_source(name, each))
    if attachment.content_id is not None:
        part.set_raw("Content-ID", _content_id(attachment.content_id))
    for name, value in attachment.headers:
        # As source, not as a value: the `email` package would fold it, and each release does it with other errors.
        part.set_raw(name, _folded(name, value))
    return part


def _content_id(content_id: str) -> str:
    if len(content_id) > _MAX_CONTENT_ID_LENGTH:
        raise UnsupportedMessage(
            "attachments",
            f"must have a content_id of at most {_MAX_CONTENT_ID_LENGTH} characters: it cannot be folded, got "
            f"{content_id!r}",
        )
    return f"\n <{content_id}>" if len(content_id) > _MAX_CONTENT_ID_LENGTH - len("Content-ID:") else f"<{content_id}>"


def parse_tree(content: bytes) -> Message:
    """A message or a part from its bytes, every leaf brought to 7-bit lines that are short enough."""
    message = parsed(content)
    check_headers(message)
    _shorten(message, content.replace(b"\r\n", b"\n"))
    return message


def tree_text(tree: Message) -> tuple[dict[str, str], str]:
    """The tree's own headers, each on one line, and the text of what is in it.

    Raises `UnsupportedMessage` if a header is too long.
    """
    _, _, body = tree.as_bytes(policy=_POLICY).decode("ascii").partition("\n\n")
    if not is_safe(body):
        lines: Iterable[str] = (line for line in body.split("\n") if not is_safe(line))
        raise UnsupportedMessage(
            "attachments",
            f"must not have headers with a word of more than {LINE_LENGTH - 1} characters: it cannot be "
            f"folded; shorten it, got {next(iter(lines))!r}",
        )
    return {name: " ".join(str(value).split()) for name, value in tree.raw_items()}, body


def _shorten(part: Message, content: bytes) -> None:
    """Bring the part, and all in it, to lines that the proxy leaves as they are. `content` is what it was parsed of."""
    if part.is_multipart():
        # What stands before and behind the parts is no content (RFC 2046, 5.1.1).
        part.preamble = part.preamble if is_safe(part.preamble or "") else None
        part.epilogue = part.epilogue if is_safe(part.epilogue or "") else None
        _decode_message(part)
        if str(part.get("Content-Transfer-Encoding", "7bit")).lower() in ("8bit", "binary"):
            part.replace_header("Content-Transfer-Encoding", "7bit")
        boundary = part.get_boundary() or ""
        if len(boundary) > MAX_BOUNDARY_LENGTH or not boundary.isascii():
            part.set_boundary(f"=_{sha256(content + boundary.encode()).hexdigest()[:40]}")
    else:
        encode_content(part)
    _make_headers_short(part)
    children = list(cast("list[Message]", part.get_payload())) if part.is_multipart() else []
    if part.get_content_type() == "multipart/signed" and children:
        _check_signed(children.pop(0), content)
    for child in children:
        _shorten(child, content)


def _decode_message(part: Message) -> None:
    """Decode a message within that is encoded as a whole, against RFC 2046: the parser takes the code for its text."""
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if part.get_content_maintype() != "message" or encoding not in ("base64", "quoted-printable"):
        return
    code = cast("list[Message]", part.get_payload())[0].as_bytes(policy=_POLICY)
    if not is_safe(code.decode("ascii", "replace")):
        content = base64.b64decode(code) if encoding == "base64" else quopri.decodestring(code)
        part.set_payload([parsed(content)])
        part.replace_header("Content-Transfer-Encoding", "7bit")


def _check_signed(part: Message, content: bytes) -> None:
    """Whether what is signed goes byte for byte; around it, nothing has to."""
    text = part.as_bytes(policy=AS_IT_IS).rstrip(b"\n")
    if not is_safe(text.decode("ascii", "replace")) or text not in content:
        raise UnsupportedMessage(
            "raw",
            "must not be signed (multipart/signed) and have 8-bit text or lines over 78 characters: the proxy "
            "would encode those, and the signature would break; sign what is already encoded",
        )


def _make_headers_short(part: Message) -> None:
    headers = [(name, str(value)) for name, value in part.raw_items()]
    sources = [f"{name}: {value}" for name, value in headers]
    if all(map(is_safe, sources)):
        return
    for name in set(part.keys()):
        del part[name]
    for (name, source), line in zip(headers, sources, strict=True):
        part.set_raw(name, source if is_safe(line) else _short(name, header_text(unfolded(source))))


def _short(name: str, value: str) -> str:
    if name.lower() not in ("content-type", "content-disposition"):
        return _folded(name, value)
    return _media_source(name, read_media(name, value))


def _media_source(name: str, media: MediaHeader) -> str:
    folded = media.folded(name)
    if folded is None:
        raise UnsupportedMessage(f"headers[{name!r}]", f"must have a shorter value, got {media.value!r}")
    return folded


def _folded(name: str, value: str) -> str:
    text = _text(name, value)
    folded = fold_text(name, text)
    if name.lower() in _ADDRESS_HEADERS:
        with suppress(InvalidMessage):
            # In an attached message they need not be right. Then they are text like any other header.
            folded = fold_addresses(name, [str(one) for one in parse_mailboxes(name, value)]) or folded
    if folded is None:
        raise UnsupportedMessage(
            f"headers[{name!r}]", f"cannot be folded into lines of {LINE_LENGTH} characters; reword it, got {value!r}"
        )
    return folded.removeprefix(" ")


def _text(name: str, value: str) -> str:
    """What a header says, decoded; what is no text in it is replaced."""
    try:
        text = read_text(value).encode("utf-8", "replace").decode()
    except UnicodeError as exc:
        problem = f"must hold encoded words that can be decoded, got {value!r}"
        raise InvalidMessage(f"headers[{name!r}]", problem) from exc
    if has_line_break(text):
        # It would be written as it stands, as lines of its own.
        raise InvalidMessage(f"headers[{name!r}]", f"must hold no line break, not even an encoded one, got {value!r}")
    return text
