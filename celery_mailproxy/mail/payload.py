"""From a `MailMessage` to the message object of the proxy's HTTP APIs, so that the same mail arrives."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

from ..errors import UnsupportedMessage
from .attachment import Attachment
from .content import content_of, text_header
from .headers import foldable_addresses, read_addresses
from .message import MailMessage
from .structured import worded_date, worded_id
from .unencoded_headers import left_out, unencoded

__all__ = ["check_expressible", "encode", "own_message_id"]

logger = logging.getLogger(__name__)

#: What the proxy must be given for `to` when no recipient is visible.
UNDISCLOSED = "undisclosed-recipients:;"
#: Headers of one mailbox or several that no field of the message holds, and dates: Python parses them all.
_MAILBOXES = frozenset({"sender", "resent-sender", "resent-from", "resent-to", "resent-cc"})
_DATES = frozenset({"date", "orig-date"})
_ID_LEFT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def encode(message: MailMessage, *, now: datetime | None = None) -> dict[str, Any]:
    """The message object for `POST /commands/add-messages` and `POST /messages/add_batch`; None is left out.

    `now` is for the Date header of a mail that has none. Apart from it, the same message gives the same object. Raises
    `UnsupportedMessage` for what the proxy cannot express.
    """
    headers: dict[str, str] = {}
    content = content_of(message)
    payload: dict[str, Any] = {
        "id": message.message_id,
        "tenant_id": message.tenant_id,
        "account_id": message.account_id,
        "batch_code": message.batch_code,
        "priority": int(message.priority),
        "deferred_ts": message.send_at,
        **_addresses(message, headers),
        "subject": text_header("Subject", message.subject) or " ",
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


def check_expressible(message: MailMessage) -> None:
    """Raise what `encode` would raise for the message, and build no more of it than that takes.

    What can go wrong is in headers, in filenames and in MIME trees that others have made. Text and the bytes of a plain
    file travel in an encoding of ours whatever they are, so the check leaves them out.
    """
    encode(
        replace(
            message,
            body=_without_text(message.body),
            html_body=_without_text(message.html_body),
            attachments=tuple(map(_without_content, message.attachments)),
        )
    )


def _without_text(text: str | None) -> str | None:
    return None if text is None else ""


def _without_content(attachment: Attachment) -> Attachment:
    if attachment.is_part or (attachment.mime_type or "").lower().startswith("message/"):
        # A tree of its own: each of its headers and parts has to be expressible.
        return attachment
    # Whether there is any content makes a difference; a byte stands for all.
    return replace(attachment, content=attachment.content and attachment.content[:1])


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
        if values and (foldable := _address_header(name.lower(), name, values)) != ", ".join(values):
            # The fields are lists whose items the proxy strips; a header keeps the white space that is wanted.
            headers[name] = foldable
    if message.reply_to:
        fields["reply_to"] = _address_header("reply_to", "Reply-To", message.reply_to)
    return fields


def _address_header(argument: str, name: str, values: Sequence[str]) -> str:
    foldable = _foldable(name, tuple(values))
    if foldable is None:
        raise UnsupportedMessage(
            argument,
            f"must have shorter display names: the proxy corrupts these when it folds the header, got {list(values)!r}",
        )
    return foldable


@lru_cache(maxsize=8)
def _foldable(name: str, values: tuple[str, ...]) -> str | None:
    # A list of a thousand names takes seconds, and a mail to each of them shows it a thousand times.
    return foldable_addresses(name, values)


def _bare(mailbox: str) -> str:
    return read_addresses(mailbox)[0][1]


def _headers(message: MailMessage, headers: dict[str, str], moment: datetime) -> str:
    """Add the message's own headers; the result is the Message-ID."""
    message_id = None
    has_date = False
    for name, value in message.headers:
        lower = name.lower()
        if lower == "message-id":
            message_id = value
        elif lower in _MAILBOXES:
            headers[name] = _address_header(f"headers[{name!r}]", name, [value])
        elif lower in _DATES:
            # One that nobody can read, in a message that exists, counts as none.
            if date := worded_date(value):
                headers[name] = date
                has_date = has_date or lower == "date"
        elif words := unencoded(name, value, is_strict=message.raw is None):
            headers[name] = text_header(name, words)
        elif not value:
            headers[name] = value
    _warn(message)
    if not has_date:
        headers["Date"] = format_datetime(moment)
    return worded_id(message_id) if message_id else own_message_id(message)


def _warn(message: MailMessage) -> None:
    for name in left_out(message.headers):
        # Not which: an id looks like an address.
        logger.warning("message %s: an id in %s is too long for the proxy, and was left out", message.message_id, name)
    if message.raw is not None and any(name.lower() == "dkim-signature" for name, _ in message.headers):
        logger.warning(
            "message %s is DKIM-signed: the proxy writes headers anew, which breaks most signatures; let the SMTP "
            "server behind it sign",
            message.message_id,
        )


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
