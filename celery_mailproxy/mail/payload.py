"""From a `MailMessage` to the message object of the proxy's HTTP APIs, so that the same mail arrives.

The proxy builds a mail of one text and attachments. Whatever is more goes through as a complete MIME tree: its text
for `body`, and its `Content-Type` in `headers`, which the proxy sets over its own. A simple mail, and attachments that
the proxy shall fetch, use the proxy's own fields.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from email.message import Message
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from ..errors import UnsupportedMessage
from .attachment import Attachment
from .headers import foldable_addresses, foldable_text, read_addresses
from .message import MailMessage
from .parts import attachment_part, has_control, is_safe, multipart, parse_tree, text_part, tree_text
from .raw import parse_raw
from .unencoded_headers import is_never_encoded, shortened

__all__ = ["encode", "own_message_id"]

#: What the proxy must be given for `to` when there is nobody to be seen in it.
UNDISCLOSED = "undisclosed-recipients:;"
_ID_LEFT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
#: With this in a filename the proxy looks into its cache, and takes it out.
_MD5_MARKER = re.compile(r"\{MD5:[A-Fa-f0-9]+\}")
_MAX_FILENAME_LENGTH = 255


def encode(message: MailMessage, *, now: datetime | None = None) -> dict[str, Any]:
    """The message object for `POST /commands/add-messages` and `POST /messages/add_batch`; None is left out.

    `now` is for the Date header of a mail that has none. Apart from it, the same message gives the same object. Raises
    `UnsupportedMessage` for what the proxy cannot express.
    """
    headers: dict[str, str] = {}
    content = _raw_content(message) if message.raw is not None else _content(message)
    payload: dict[str, Any] = {
        "id": message.message_id,
        "tenant_id": message.tenant_id,
        "account_id": message.account_id,
        "batch_code": message.batch_code,
        "priority": int(message.priority),
        "deferred_ts": message.send_at,
        **_addresses(message, headers),
        "subject": _text("Subject", message.subject) or " ",
        "body": content.body,
        "content_type": content.subtype,
        "attachments": list(content.attachments) or None,
    }
    if not message.subject:
        # One API refuses an empty subject. A header is set over the field.
        headers["Subject"] = ""
    moment = _date(message, now or datetime.now(timezone.utc))
    payload["message_id"] = _headers(message, headers, moment)
    if message.envelope:
        headers |= _resent(message, moment)
    payload["headers"] = {**headers, **content.headers}
    return {name: value for name, value in payload.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """Everything below the mail's headers, in the proxy's fields."""

    body: str
    subtype: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    attachments: Sequence[Mapping[str, Any]] = ()


def _addresses(message: MailMessage, headers: dict[str, str]) -> dict[str, Any]:
    sender = _address_header("from_email", "From", [message.from_email])
    bare = _bare(message.from_email)
    fields: dict[str, Any] = {
        "from": sender,
        # Else the envelope's sender is `from` with its name, and a non-ASCII one asks for SMTPUTF8.
        "return_path": message.return_path or (bare if sender != bare else None),
        "to": list(message.to) or [UNDISCLOSED],
        "cc": list(message.cc) or None,
        "bcc": list(message.bcc) or None,
    }
    for name, values in (("To", message.to), ("Cc", message.cc)):
        if values and (worded := _address_header(name.lower(), name, values)) != ", ".join(values):
            # The fields are lists whose items the proxy strips; a header keeps the white space that is wanted.
            headers[name] = worded
    if message.reply_to:
        fields["reply_to"] = _address_header("reply_to", "Reply-To", message.reply_to)
    return fields


def _address_header(argument: str, name: str, values: Sequence[str]) -> str:
    worded = _worded(name, tuple(values))
    if worded is None:
        raise UnsupportedMessage(
            argument, f"must have shorter display names: folded, they get damaged in the proxy, got {list(values)!r}"
        )
    return worded


@lru_cache(maxsize=8)
def _worded(name: str, values: tuple[str, ...]) -> str | None:
    # A list of a thousand names takes seconds, and a mail to each of them shows it a thousand times.
    return foldable_addresses(name, values)


def _bare(mailbox: str) -> str:
    return read_addresses(mailbox)[0][1]


def _text(name: str, value: str) -> str:
    worded = foldable_text(name, value)
    if worded is None:
        raise UnsupportedMessage(
            f"headers[{name!r}]", f"must be worded otherwise: folded, it gets damaged in the proxy, got {value!r}"
        )
    return worded


def _headers(message: MailMessage, headers: dict[str, str], moment: datetime) -> str:
    """Add the message's own headers; the result is the Message-ID."""
    message_id = None
    has_date = False
    for name, value in message.headers:
        lower = name.lower()
        if lower == "message-id":
            message_id = value
        elif lower == "sender":
            headers[name] = _address_header(f"headers[{name!r}]", name, [value])
        elif is_never_encoded(name):
            if words := shortened(name, value, message_id=message.message_id):
                headers[name] = _text(name, words)
        else:
            headers[name] = value if lower == "date" else _text(name, value)
            has_date = has_date or lower == "date"
    if not has_date:
        headers["Date"] = format_datetime(moment)
    return message_id or own_message_id(message)


def _resent(message: MailMessage, moment: datetime) -> dict[str, str]:
    """A block of Resent headers, from which the proxy takes the envelope's recipients, whatever To and Cc show.

    RFC 5322, 3.6.6, as aiosmtplib understands it. Resent-Bcc is removed on the way; the other two must be there, and
    no mail program shows them.
    """
    return {
        "Resent-Date": format_datetime(moment),
        "Resent-From": _bare(message.from_email),
        "Resent-Bcc": ", ".join(message.envelope),
    }


def _date(message: MailMessage, now: datetime) -> datetime:
    # A mail that waits is dated when it goes: readers sort by this.
    waits_until = datetime.fromtimestamp(message.send_at or 0, timezone.utc)
    return max(now.astimezone(timezone.utc).replace(microsecond=0), waits_until)


def own_message_id(message: MailMessage) -> str:
    """The Message-ID of a mail that has none.

    From the id that a retry has in common with the first try, so that the two are one mail to any reader.
    """
    left = message.message_id
    if len(left) > 64 or not _ID_LEFT.fullmatch(left):
        left = sha256(left.encode()).hexdigest()[:32]
    return f"<{left}@{_bare(message.from_email).rpartition('@')[2]}>"


def _content(message: MailMessage) -> _Content:
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


def _simple(message: MailMessage) -> _Content | None:
    """A mail of one text that the proxy's own encoding carries whole."""
    if message.body is not None and message.html_body is not None:
        return None
    text = message.html_body if message.html_body is not None else message.body or ""
    if has_control(text):
        return None
    return _Content(body=text, subtype="html" if message.html_body is not None else "plain")


def _body_part(message: MailMessage, inline: Sequence[Attachment]) -> Message:
    if message.html_body is None:
        return text_part(message.body or "", "plain")
    html: Message = text_part(message.html_body, "html")
    if inline:
        html = multipart("related", [html, *map(attachment_part, inline)], seed=_seed(message))
    if message.body is None:
        return html
    return multipart("alternative", [text_part(message.body, "plain"), html], seed=_seed(message))


def _tree(part: Message) -> _Content:
    headers, body = tree_text(part)
    return _Content(body=body, headers=headers)


def _proxy_attachments(attachments: Sequence[Attachment]) -> list[dict[str, Any]]:
    return [_proxy_attachment(index, one) for index, one in enumerate(attachments)]


def _proxy_attachment(index: int, attachment: Attachment) -> dict[str, Any]:
    """In the proxy's own form, beside an attachment that it is to fetch."""
    argument = f"attachments[{index}]"
    filename = attachment.filename
    plain = {"filename": filename, "mime_type": attachment.mime_type, "storage_path": attachment.storage_path}
    if attachment.fetch_mode is not None:
        plain["fetch_mode"] = attachment.fetch_mode
    elif not attachment.content or not _is_plain(attachment):
        raise UnsupportedMessage(
            argument,
            "must be a plain file with a name and content to stand beside an attachment given as a reference: the "
            "proxy cannot give it headers of its own; give the content of the other attachments, too",
        )
    else:
        # Without fetch_mode: with it, the commands API would decode the prefix as well.
        plain["storage_path"] = f"base64:{b64encode(attachment.content).decode('ascii')}"
    if not filename or len(filename) > _MAX_FILENAME_LENGTH or _MD5_MARKER.search(filename):
        raise UnsupportedMessage(
            argument,
            f"must have a filename of at most {_MAX_FILENAME_LENGTH} characters without {{MD5:…}} to be added by the "
            f"proxy, got {filename!r}",
        )
    return plain


def _is_plain(attachment: Attachment) -> bool:
    has_own = attachment.is_part or attachment.headers or attachment.content_id or attachment.disposition == "inline"
    return not has_own and attachment.mime_type is not None and not attachment.mime_type.startswith("message/")


def _raw_content(message: MailMessage) -> _Content:
    raw = parse_raw(cast(str, message.raw))
    headers = {name: value for name, value in raw.headers.items() if name.lower().startswith("content-")}
    if is_safe(raw.body) and all(map(str.isascii, headers.values())):
        content = _Content(body=raw.body, headers=headers)
    else:
        head = "".join(f"{name}: {value}\n" for name, value in headers.items())
        content = _tree(parse_tree(f"{head}\n{raw.body}".encode()))
    kind = (raw.header("Content-Type") or "text/plain").lower()
    if kind.startswith("message/delivery-status"):
        raise UnsupportedMessage(
            "raw", "must not be a bare message/delivery-status: the proxy fails on it; put it into a multipart/report"
        )
    return replace(content, attachments=_proxy_attachments(message.attachments))
