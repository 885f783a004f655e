"""What is below a mail's headers, in the proxy's fields: a text, or a MIME tree and attachments.

The proxy builds a mail of one text and attachments. Whatever is more goes through as a complete MIME tree: its text
for `body`, and its `Content-Type` in `headers`, which the proxy sets over its own. A simple mail, and attachments that
the proxy shall fetch, use the proxy's own fields.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import Message
from hashlib import sha256
from typing import Any, cast

from ..errors import UnsupportedMessage
from .attachment import Attachment
from .controls import check_headers
from .headers import foldable_text, read_text
from .leaves import is_safe, parsed
from .message import MailMessage
from .parameters import MAX_BOUNDARY_LENGTH, read_media
from .parts import attachment_part, has_control, multipart, parse_tree, text_part, tree_text
from .raw import parse_raw
from .structured import worded_content, worded_type

__all__ = ["Content", "content_of", "text_header"]

#: With this in a filename the proxy looks into its cache, and takes it out.
_MD5_MARKER = re.compile(r"\{MD5:[A-Fa-f0-9]+\}")
_MAX_FILENAME_LENGTH = 255
#: What says how a raw message's tree is read.
_OF_TREES = frozenset({"content-type", "content-transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything below the mail's headers, in the proxy's fields."""

    body: str
    subtype: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Mapping[str, Any]] = ()


def content_of(message: MailMessage) -> Content:
    """What the proxy is given of a message below its headers. Raises `UnsupportedMessage`."""
    return _raw_content(message) if message.raw is not None else _composed_content(message)


def text_header(name: str, value: str) -> str:
    """The value of a header of text, worded for the proxy. Raises `UnsupportedMessage`."""
    foldable = foldable_text(name, value)
    if foldable is None:
        raise UnsupportedMessage(
            f"headers[{name!r}]",
            f"cannot be sent unchanged: the proxy corrupts it when it folds the header; reword it, got {value!r}",
        )
    return foldable


def _composed_content(message: MailMessage) -> Content:
    inline = [one for one in message.attachments if one.content_id is not None and message.html_body is not None]
    others = [one for one in message.attachments if one not in inline]
    simple = None if inline else _simple(message)
    if any(one.fetch_mode is not None for one in others):
        # The proxy puts a multipart/mixed around what it has, and adds them; so what it has must not be one itself.
        return replace(simple or _tree(_body_part(message, inline)), attachments=_proxy_attachments(others))
    if simple is not None and not others:
        return simple
    part = _body_part(message, inline)
    return _tree(multipart("mixed", [part, *map(attachment_part, others)], seed=_seed(message)) if others else part)


def _seed(message: MailMessage) -> str:
    digest = sha256(f"{message.message_id}\0{message.body}\0{message.html_body}".encode())
    for attachment in message.attachments:
        digest.update(attachment.content or b"")
    return digest.hexdigest()


def _simple(message: MailMessage) -> Content | None:
    """A mail of one text that the proxy's own encoding carries whole."""
    if message.body is not None and message.html_body is not None:
        return None
    text = message.html_body if message.html_body is not None else message.body or ""
    if has_control(text):
        return None
    return Content(body=text, subtype="html" if message.html_body is not None else "plain")


def _body_part(message: MailMessage, inline: Sequence[Attachment]) -> Message:
    if message.html_body is None:
        return text_part(message.body or "", "plain")
    html: Message = text_part(message.html_body, "html")
    if inline:
        html = multipart("related", [html, *map(attachment_part, inline)], seed=_seed(message))
    if message.body is None:
        return html
    return multipart("alternative", [text_part(message.body, "plain"), html], seed=_seed(message))


def _tree(part: Message) -> Content:
    headers, body = tree_text(part)
    return Content(body=body, headers=headers)


def _proxy_attachments(attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    return [_proxy_attachment(index, one) for index, one in enumerate(attachments)]


def _proxy_attachment(index: int, attachment: Attachment) -> dict[str, Any]:
    """In the proxy's own form, beside an attachment that it is to fetch."""
    argument = f"attachments[{index}]"
    filename = attachment.filename
    plain = {
        "filename": filename,
        "mime_type": attachment.mime_type and worded_type(attachment.mime_type),
        "storage_path": attachment.storage_path,
    }
    if attachment.fetch_mode is not None:
        plain["fetch_mode"] = attachment.fetch_mode
    elif not attachment.content or not _is_plain(attachment):
        raise UnsupportedMessage(
            argument,
            "must be a plain file with a name and content to stand beside an attachment given as a reference: the "
            "proxy cannot give it its own headers; give the content of the other attachments, too",
        )
    else:
        # Without fetch_mode: with it, 0.5.0 would decode the prefix as well.
        plain["storage_path"] = f"base64:{b64encode(attachment.content).decode('ascii')}"
    is_line = filename is not None and len(filename.splitlines()) == 1
    if not is_line or len(str(filename)) > _MAX_FILENAME_LENGTH or _MD5_MARKER.search(str(filename)):
        raise UnsupportedMessage(
            argument,
            f"must have a filename on one line, of at most {_MAX_FILENAME_LENGTH} characters without {{MD5:…}}, to be "
            f"added by the proxy, got {filename!r}",
        )
    return plain


def _is_plain(attachment: Attachment) -> bool:
    has_own = attachment.is_part or attachment.headers or attachment.content_id or attachment.disposition == "inline"
    return not has_own and attachment.mime_type is not None and not attachment.mime_type.startswith("message/")


def _raw_content(message: MailMessage) -> Content:
    raw = parse_raw(cast(str, message.raw))
    media = read_media("Content-Type", raw.header("Content-Type") or "text/plain")
    if media.value.startswith("message/delivery-status"):
        raise UnsupportedMessage(
            "raw", "must not be a bare message/delivery-status: the proxy fails on it; put it into a multipart/report"
        )
    if media.value.startswith(("multipart/", "message/")):
        check_headers(parsed(cast(str, message.raw).encode()))
    sources = {name: value for name, value in raw.headers.items() if name.lower() in _OF_TREES}
    body = raw.body
    if not is_safe(body) or len(media.get("boundary")) > MAX_BOUNDARY_LENGTH:
        head = "".join(f"{name}: {value}\n" for name, value in sources.items())
        sources, body = tree_text(parse_tree(f"{head}\n{raw.body}".encode()))
    headers = {name: worded for name, value in sources.items() if (worded := worded_content(name, value)) is not None}
    for name, value in raw.headers.items():
        if name.lower().startswith("content-") and name.lower() not in _OF_TREES:
            headers |= _other_content(name, value)
    return Content(body=body, headers=headers, attachments=_proxy_attachments(message.attachments))


def _other_content(name: str, value: str) -> dict[str, str]:
    """What a raw message says of its content apart from its type and encoding."""
    is_text = name.lower() != "content-disposition"
    worded = text_header(name, read_text(value)) if is_text else worded_content(name, value)
    return {} if worded is None else {name: worded}
