"""`Attachment`: a file that goes with a mail, as content or as a reference that the proxy resolves."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from email.message import Message
from email.mime.base import MIMEBase
from os import PathLike
from pathlib import Path, PurePath
from typing import Any, Literal, cast

from ..errors import InvalidMessage, UnsupportedMessage, shown
from .attachment_content import decode_base64, read_file
from .controls import breaks_lines, has_line_break, has_surrogate, hides_line_break, hides_surrogate
from .leaves import message_bytes
from .media_types import MIME_TYPE, guessed_type, is_mail

__all__ = ["Attachment", "FetchMode"]

FetchMode = Literal["http_url", "filesystem", "endpoint"]

#: RFC 5322, 3.6.8: printable ASCII without the colon.
HEADER_NAME = re.compile(r"[!-9;-~]+")
_OWN_HEADERS = frozenset(
    {"content-type", "content-transfer-encoding", "content-disposition", "content-id", "mime-version"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One attachment: content of your own, or a reference (`from_url`, `from_proxy_disk`, `from_endpoint`).

    `mime_type` may carry parameters (`text/calendar; method=REQUEST`); without one it is guessed from the filename.
    With a `content_id` the attachment is an inline image: `<img src="cid:logo">` shows that with `content_id="logo"`.
    `headers` are further headers of the attachment's part. A whole message is `message/rfc822` with the message's
    bytes for content; `is_part=True` says that the content is a ready-made MIME part with its own headers.

    The proxy fetches a reference with the tenant's own credentials: an attachment holds none, for it lies on the
    broker. Raises `InvalidMessage`, with `attachments` for the argument.
    """

    filename: str | None = None
    content: bytes | None = field(default=None, repr=False)
    mime_type: str | None = None
    content_id: str | None = None
    disposition: Literal["attachment", "inline"] = "attachment"
    headers: tuple[tuple[str, str], ...] = ()
    is_part: bool = False
    fetch_mode: FetchMode | None = None
    storage_path: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", _pairs(self.headers))
        if isinstance(self.content_id, str):
            # Both `<logo>` and `logo` are in use; the brackets belong to the header.
            object.__setattr__(self, "content_id", self.content_id.removeprefix("<").removesuffix(">"))
            object.__setattr__(self, "disposition", "inline")
        _check_texts(self)
        _check_source(self)
        _check_mime_type(self)

    @classmethod
    def from_url(cls, url: str, *, filename: str | None = None, mime_type: str | None = None) -> Attachment:
        """What an http(s) URL holds when the mail is sent. The proxy sends the tenant's credentials to that URL.

        It asks by GET, but on 0.5.0 by POST.
        """
        if not isinstance(url, str):
            raise InvalidMessage("attachments", f"must be an http(s) URL without spaces and brackets, got {shown(url)}")
        name = filename or url.split("?")[0].rstrip("/").rpartition("/")[2]
        return cls(filename=name, mime_type=mime_type, fetch_mode="http_url", storage_path=url)

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        filename: str | None = None,
        mime_type: str | None = None,
        content_id: str | None = None,
    ) -> Attachment:
        """What a file on **this** machine holds now; its content lies on the broker."""
        content = read_file(path)
        return cls(filename=filename or Path(path).name, content=content, mime_type=mime_type, content_id=content_id)

    @classmethod
    def from_proxy_disk(
        cls, path: str | PathLike[str], *, filename: str | None = None, mime_type: str | None = None
    ) -> Attachment:
        """A file on the **proxy's** disk, by its absolute path."""
        text = path.as_posix() if isinstance(path, PurePath) else path
        if not isinstance(text, str):
            raise InvalidMessage("attachments", f"must be an absolute path on the proxy's disk, got {shown(path)}")
        name = filename or text.rpartition("/")[2]
        return cls(filename=name, mime_type=mime_type, fetch_mode="filesystem", storage_path=text)

    @classmethod
    def from_endpoint(cls, params: str, *, filename: str, mime_type: str | None = None) -> Attachment:
        """What the tenant's attachment URL answers to `{"storage_path": params}`, for example `invoice_id=7`."""
        return cls(filename=filename, mime_type=mime_type, fetch_mode="endpoint", storage_path=params)

    @classmethod
    def from_any(cls, value: object) -> Attachment:
        """From any of the usual forms.

        An `Attachment`; a `Path` of a file here; a `(filename, content, mimetype)` tuple (the last one or two may be
        left out; content is bytes, text or an email message); a MIME part (`MIMEBase`, or an `EmailMessage` with
        `Content-*` headers only); an `EmailMessage` (attached as `message/rfc822`); the object that `to_json` makes.
        """
        if isinstance(value, Attachment):
            return value
        if isinstance(value, Message):
            return _from_message(value)
        if isinstance(value, Mapping):
            return cls.from_json(value)
        if isinstance(value, PurePath):
            return cls.from_file(value)
        if isinstance(value, (tuple, list)) and 1 <= len(value) <= 3:
            return _from_tuple(*value)
        raise InvalidMessage(
            "attachments",
            "must be an Attachment, Path, (filename, content, mimetype) tuple, email message or part, or object, got "
            f"{type(value).__name__}",
        )

    def to_json(self) -> dict[str, Any]:
        """A plain object; the content as base64, what is not set left out."""
        plain = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        if self.content is not None:
            plain["content"] = base64.b64encode(self.content).decode("ascii")
        if self.headers:
            plain["headers"] = dict(self.headers)
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Attachment:
        """From the object that `to_json` makes. Text for `content` is base64; bytes are taken as they are."""
        known = {one.name for one in fields(cls)}
        for key in plain:
            if key not in known:
                raise InvalidMessage("attachments", _unknown_key(str(key), known))
        arguments = {key: value for key, value in plain.items() if value is not None}
        if isinstance(arguments.get("content"), str):
            arguments["content"] = decode_base64(arguments["content"])
        if isinstance(arguments.get("content"), (bytearray, memoryview)):
            arguments["content"] = bytes(arguments["content"])
        return cls(**arguments)


def _from_message(message: Message) -> Attachment:
    own = {name.lower() for name in message.keys()}  # noqa: SIM118 - a Message iterates over its body's lines
    part = isinstance(message, MIMEBase) or all(name.startswith("content-") or name == "mime-version" for name in own)
    content = message_bytes(message)
    if part:
        return Attachment(content=content, is_part=True)
    return Attachment(content=content, mime_type="message/rfc822")


def _from_tuple(filename: object, content: object = None, mime_type: object = None) -> Attachment:
    for name, value in (("filename", filename), ("mimetype", mime_type)):
        if not (value is None or isinstance(value, str)):
            raise InvalidMessage("attachments", f"must have text or nothing for {name}, got {shown(value)}")
    filename, mime_type = cast("str | None", filename), cast("str | None", mime_type)
    if isinstance(content, Message):
        return Attachment(filename=filename, content=message_bytes(content), mime_type="message/rfc822")
    if isinstance(content, str):
        if has_surrogate(content):
            raise InvalidMessage("attachments", "must have text without lone surrogates for content; give bytes")
        mime_type = mime_type or guessed_type(filename, content.encode()) or "text/plain"
        if mime_type.startswith("text/") and "charset" not in mime_type:
            mime_type += "; charset=utf-8"
        content = content.encode()
    if isinstance(content, (bytearray, memoryview)):
        content = bytes(content)
    if not isinstance(content, bytes):
        raise InvalidMessage("attachments", f"must have content (bytes or text), got {type(content).__name__}")
    return Attachment(filename=filename, content=content, mime_type=mime_type)


def _pairs(headers: object) -> tuple[tuple[str, str], ...]:
    """Headers as they are kept, from a dict or from pairs."""
    items = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(items, Iterable) and not isinstance(items, (str, bytes)):
        pairs = [tuple(each) if isinstance(each, (tuple, list)) else () for each in items]
        if all(len(pair) == 2 for pair in pairs):
            return tuple((str(name), str(value)) for name, value in pairs)
    raise InvalidMessage("attachments", f"must have a dict of names and values for headers, got {shown(headers)}")


def _check_texts(attachment: Attachment) -> None:
    texts = [
        ("filename", attachment.filename),
        ("content_id", attachment.content_id),
        ("mime_type", attachment.mime_type),
    ]
    for name, value in (*texts, *attachment.headers):
        if value is None:
            continue
        if not isinstance(value, str):
            raise InvalidMessage("attachments", f"must have text for {name}, got {shown(value)}")
        # Also an encoded one: whoever writes the part's headers decodes them first.
        if hides_line_break(value) or hides_surrogate(value):
            raise InvalidMessage(
                "attachments", f"must hold no line break or control character in {name}, got {value!r}"
            )
    for name, _ in attachment.headers:
        if not HEADER_NAME.fullmatch(name):
            raise InvalidMessage(
                "attachments", f"must have header names of printable ASCII without colon, got {name!r}"
            )
        if name.lower() in _OWN_HEADERS:
            raise InvalidMessage("attachments", f"must not set this header: its own fields do, got {name!r}")
    cid = attachment.content_id
    if cid is not None and (not cid or not cid.isascii() or re.search(r"[\s<>]", cid)):
        raise InvalidMessage("attachments", f"must have a content_id of ASCII without spaces or <>, got {cid!r}")
    if attachment.disposition not in ("attachment", "inline"):
        raise InvalidMessage("attachments", f"must be 'attachment' or 'inline', got {shown(attachment.disposition)}")
    if not isinstance(attachment.is_part, bool):
        raise InvalidMessage("attachments", f"must have True or False for is_part, got {shown(attachment.is_part)}")


def _check_source(attachment: Attachment) -> None:
    if attachment.fetch_mode is None:
        if not isinstance(attachment.content, bytes):
            raise InvalidMessage("attachments", "must have content, or be made by from_file, from_url and the like")
        if attachment.storage_path is not None:
            raise InvalidMessage("attachments", "must have a fetch_mode with a storage_path, and no content then")
        return
    path = attachment.storage_path
    if attachment.content is not None or not isinstance(path, str) or not path or has_surrogate(path):
        raise InvalidMessage("attachments", f"must have either content or a reference's text, got {shown(path)}")
    if attachment.content_id or attachment.headers or attachment.is_part or attachment.disposition != "attachment":
        raise UnsupportedMessage(
            "attachments",
            "cannot be inline or have its own headers when it is a reference: give its content instead",
        )
    if not attachment.filename:
        raise InvalidMessage("attachments", f"must have a filename with a reference, got {attachment.filename!r}")
    _check_reference(attachment.fetch_mode, path)


def _check_reference(fetch_mode: str, path: str) -> None:
    url = path.startswith(("http://", "https://"))
    if fetch_mode == "http_url":
        if not url or has_line_break(path) or re.search(r"[\s\[\]]", path):
            # The proxy puts the URL in brackets of its own and reads up to the first closing one.
            raise InvalidMessage("attachments", f"must be an http(s) URL without spaces and brackets, got {path!r}")
    elif fetch_mode == "filesystem":
        if not path.startswith("/") or "\0" in path:
            raise InvalidMessage("attachments", f"must be an absolute path on the proxy's disk, got {path!r}")
    elif fetch_mode == "endpoint":
        if url or path.startswith("["):
            # The proxy would take it for an address, and send the tenant's credentials there.
            raise InvalidMessage("attachments", f"must not be a URL; use Attachment.from_url, got {path!r}")
    else:
        raise InvalidMessage(
            "attachments", f"must have a fetch_mode http_url, filesystem or endpoint, got {shown(fetch_mode)}"
        )


def _check_mime_type(attachment: Attachment) -> None:
    if attachment.is_part:
        return
    if attachment.mime_type is None:
        guessed = guessed_type(attachment.filename, attachment.content)
        object.__setattr__(attachment, "mime_type", guessed or "application/octet-stream")
    mime_type = str(attachment.mime_type)
    if breaks_lines("Content-Type", mime_type):
        raise InvalidMessage("attachments", f"must hold no encoded line break in mime_type, got {mime_type!r}")
    kind = mime_type.partition(";")[0].strip().lower()
    if not MIME_TYPE.fullmatch(kind) or not mime_type.isascii():
        raise InvalidMessage("attachments", f"must have a mime_type like application/pdf, got {mime_type!r}")
    if kind.startswith("multipart/") or (kind.startswith("message/") and kind != "message/rfc822"):
        raise InvalidMessage(
            "attachments", f"must be given as a ready-made MIME part with this mime_type, got {kind!r}"
        )
    if kind == "message/rfc822":
        if attachment.fetch_mode is not None:
            raise UnsupportedMessage(
                "attachments", "cannot be a reference to a message: the proxy would encode it; give its content instead"
            )
        if not is_mail(cast(bytes, attachment.content)):
            raise InvalidMessage("attachments", "must be an email with headers when its mime_type is message/rfc822")


def _unknown_key(key: str, known: set[str]) -> str:
    if key == "auth":
        return "must not hold credentials, for it lies on the broker: the proxy uses the tenant's own (client_auth)"
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
    return f"must have known keys{hint}, got {key!r}"
