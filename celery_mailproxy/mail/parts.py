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
from email import message_from_bytes, policy
from email.headerregistry import ContentTypeHeader
from email.message import EmailMessage, Message, MIMEPart
from hashlib import sha256
from typing import Any, cast

from ..errors import InvalidMessage, UnsupportedMessage
from .addresses import parse_mailboxes
from .attachment import Attachment
from .controls import check_headers, has_line_break
from .headers import LINE_LENGTH, fold_addresses, fold_text, read_text, unfolded

__all__ = ["attachment_part", "has_control", "is_safe", "multipart", "parse_tree", "text_part", "tree_text"]

_POLICY = policy.default.clone(cte_type="7bit", linesep="\n", max_line_length=LINE_LENGTH)
_UNSAFE = re.compile(rf"[^\n]{{{LINE_LENGTH + 1},}}|[^\x01-\x7f]|\r")
#: Of the control characters, text may hold these; others make it travel as base64, for servers may choke on them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ADDRESS_HEADERS = frozenset({"from", "sender", "to", "cc", "reply-to", "resent-from", "resent-to", "resent-cc"})
_MAX_CONTENT_ID_LENGTH = LINE_LENGTH - len(" <>")


def is_safe(text: str) -> bool:
    """Whether the proxy leaves the text as it is."""
    return _UNSAFE.search(text) is None


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
    kind = cast(ContentTypeHeader, policy.default.header_factory("Content-Type", cast(str, attachment.mime_type)))
    if kind.content_type == "message/rfc822":
        part["Content-Type"] = kind.content_type
        part["Content-Disposition"] = attachment.disposition
        if attachment.filename:
            part.set_param("filename", attachment.filename, header="Content-Disposition")
        part.set_payload([parse_tree(content)])
    else:
        part.set_content(
            content,
            maintype=kind.maintype,
            subtype=kind.subtype,
            params=dict(kind.params),
            disposition=attachment.disposition,
            filename=attachment.filename,
        )
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


def parse_tree(content: bytes) -> EmailMessage:
    """A message or a part from its bytes, every leaf brought to 7-bit lines that are short enough."""
    message = cast(EmailMessage, message_from_bytes(content, policy=cast(Any, _POLICY)))
    check_headers(message)
    for part in message.walk():
        if part.get_content_type() == "multipart/signed" and not is_safe(content.decode("ascii", "replace")):
            raise UnsupportedMessage(
                "raw",
                "must not be signed (multipart/signed) and have 8-bit text or lines over 78 characters: the proxy "
                "would encode those, and the signature would break; sign what is already encoded",
            )
        _make_content_short(part)
        _make_headers_short(part)
    return message


def tree_text(tree: Message) -> tuple[dict[str, str], str]:
    """The tree's own headers, and the text of what is in it. Raises `UnsupportedMessage` if a header is too long."""
    _, _, body = tree.as_bytes(policy=_POLICY).decode("ascii").partition("\n\n")
    if not is_safe(body):
        lines: Iterable[str] = (line for line in body.split("\n") if not is_safe(line))
        raise UnsupportedMessage(
            "attachments",
            f"must not have headers with a word of more than {LINE_LENGTH - 1} characters: it cannot be "
            f"folded; shorten it, got {next(iter(lines))!r}",
        )
    return {name: " ".join(str(value).split()) for name, value in tree.items()}, body


def _make_content_short(part: Message) -> None:
    if part.is_multipart():
        # What stands before and behind the parts is no content (RFC 2046, 5.1.1).
        part.preamble = part.preamble if is_safe(part.preamble or "") else None
        part.epilogue = part.epilogue if is_safe(part.epilogue or "") else None
        if part.get("Content-Transfer-Encoding", "7bit").lower() in ("8bit", "binary"):
            part.replace_header("Content-Transfer-Encoding", "7bit")
        return
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


def _make_headers_short(part: Message) -> None:
    headers = [(name, str(value)) for name, value in part.raw_items()]
    sources = [f"{name}: {value}" for name, value in headers]
    if all(map(is_safe, sources)):
        return
    for name in set(part.keys()):
        del part[name]
    for (name, source), line in zip(headers, sources, strict=True):
        if is_safe(line):
            part.set_raw(name, source)
            continue
        value = unfolded(source)
        # Eight-bit headers are UTF-8 (RFC 6532); the parser keeps foreign bytes as lone surrogates.
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if name.lower() in ("content-type", "content-disposition"):
            _set_parameters(part, name, value)
        else:
            part.set_raw(name, _folded(name, value))


def _set_parameters(part: Message, name: str, value: str) -> None:
    try:
        # Only the `email` package folds parameters (RFC 2231).
        part[name] = value
    except ValueError as exc:
        raise InvalidMessage(f"headers[{name!r}]", f"must hold text that can be decoded, got {value!r}") from exc


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
