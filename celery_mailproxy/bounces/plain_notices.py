"""Bounces of servers that write no delivery status notification: what they say to people is all there is.

`flufl.bounce` knows many such forms by their looks; without it (the extra `bounces`) only what is plain is recognised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from functools import cache
from importlib import import_module
from typing import Any

from ..deliveries.report import Kind
from .codes import bounce_type_of, enhanced_code, reply_code
from .notice import Notice
from .parts import addresses_in, header, headers, outer_parts, text_of
from .phrases import is_about_address, is_about_delay, is_about_space, is_failure, is_final, is_out_of_office

__all__ = ["detector", "plain_notices"]

_DAEMON = re.compile(
    r"^(?:mailer[-_.]?daemon|mail[-_.]?daemon|maildaemon|post[-_]?master|mdaemon|mail-?delivery|microsoftexchange\w+"
    r"|mail\.?system|mailerdaemon|bounces?|daemon)@",
    re.IGNORECASE,
)
_DAEMON_NAMES = re.compile(r"mail delivery|mailer.?daemon|delivery (?:sub)?system|system administrator", re.IGNORECASE)

#: Headers of programs that answer in a person's place.
_AUTOREPLY_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply-From", "X-Vacation")

#: Where the mail begins that comes back: what it says is not the server's word.
_QUOTE = re.compile(
    r"^[ \t>]{0,20}(?:--.*(?:copy of|original|returned|unsent|message|nachricht|messaggio|mensaje|headers)"
    r"|received: from |return-path: |-{3,}[ \t]*$)|^.*original message (?:follows|headers)",
    re.IGNORECASE | re.MULTILINE,
)
_ADDRESS = r"[^\s<>()\[\]:;,\"'@]{1,64}@[A-Za-z0-9.\-]{1,255}"
_LEADING = re.compile(
    rf"^[ \t]*(?:To: ?|Recipient: ?|-\s*)?<?({_ADDRESS})>?[ \t]*(?:[:;]|$|\s-\s|\.\.\.|\()", re.MULTILINE
)
_ANYWHERE = re.compile(rf"<?({_ADDRESS})>?")


def plain_notices(mail: Message[str, str]) -> list[Notice]:
    """A notice for each recipient of a bounce in words; none where the mail is no bounce."""
    if not _is_from_daemon(mail):
        return []
    temporary, permanent = _detected(mail)
    if temporary and not permanent:
        return []
    text = _told(mail)
    subject = header(mail, "Subject")
    has_codes = enhanced_code(text) is not None or reply_code(text) is not None
    said = f"{subject}\n{text}"
    if is_about_delay(said) and not is_final(text):
        return []
    is_bounce = bool(permanent) or is_failure(said) or has_codes
    if not is_bounce or not (has_codes or is_failure(said) or is_about_address(text) or is_about_space(text)):
        return []
    recipients = _failed_recipients(mail) or permanent or _named(text, mail)
    return [_notice(recipient, text, alone=len(recipients) == 1) for recipient in recipients] or [_notice(None, text)]


def _notice(recipient: str | None, text: str, *, alone: bool = True) -> Notice:
    words = text if alone or recipient is None else _about(recipient, text)
    status, reply = enhanced_code(words), reply_code(words)
    return Notice(
        kind=Kind.BOUNCED,
        recipient=recipient,
        code=status or reply,
        bounce_type=bounce_type_of(status, reply, words),
        reason=" ".join(words.split()) or None,
    )


def _is_from_daemon(mail: Message[str, str]) -> bool:
    """Whether a server wrote it, not a person, nor a program in a person's place."""
    if any(name in mail for name in _AUTOREPLY_HEADERS) or is_out_of_office(header(mail, "Subject")):
        return False
    senders = addresses_in(mail, ["From", "Sender"])
    if (
        header(mail, "From").strip().endswith("<>")
        or any(_DAEMON.match(each) for each in senders)
        or _DAEMON_NAMES.search(header(mail, "From"))
    ):
        return True
    return bool(_failed_recipients(mail)) and header(mail, "Return-Path") in ("", "<>")


def _failed_recipients(mail: Message[str, str]) -> list[str]:
    """Exim's word."""
    found = (each for value in headers(mail, "X-Failed-Recipients") for each in _ANYWHERE.findall(value))
    return list(dict.fromkeys(found))


def _told(mail: Message[str, str]) -> str:
    """What the server says, up to where it quotes."""
    texts = [text_of(part) for part in outer_parts(mail) if part.get_content_type() == "text/plain"]
    if not texts:
        pages = (text_of(part) for part in outer_parts(mail) if part.get_content_type() == "text/html")
        texts = [re.sub(r"<(?!/?[^\s<>@]{1,64}@)[^<>]{0,2000}>", " ", page) for page in pages]
    text = texts[0] if texts else ""
    return next((before for before in _befores(text) if before.strip()), text)


def _befores(text: str) -> Iterator[str]:
    for match in _QUOTE.finditer(text):
        before = text[: match.start()]
        if is_failure(before) or reply_code(before) or enhanced_code(before):
            yield before


def _named(text: str, mail: Message[str, str]) -> list[str]:
    """The addresses that the server names, but not its own and not the one it writes to."""
    own = {each.lower() for each in addresses_in(mail, ["From", "To", "Delivered-To", "Return-Path", "Sender"])}
    for pattern in (_LEADING, _ANYWHERE):
        found = [each.rstrip(".") for each in pattern.findall(text)]
        named = list(dict.fromkeys(each for each in found if each.lower() not in own))
        if named:
            return named if pattern is _LEADING else named[:1]
    return []


def _about(recipient: str, text: str) -> str:
    """The paragraph about one of several recipients."""
    paragraphs = re.split(r"\n[ \t]*\r?\n", text)
    return next((each for each in paragraphs if recipient.lower() in each.lower()), text)


def _detected(mail: Message[str, str]) -> tuple[list[str], list[str]]:
    """The recipients that `flufl.bounce` finds: whom it does not reach yet, and whom not at all."""
    detect = detector()
    if detect is None:
        return [], []
    try:
        temporary, permanent = detect(mail)
    except Exception:
        # Its detectors meet mails of any shape; what they cannot read is no bounce to them.
        return [], []
    return _texts(temporary), _texts(permanent)


@cache
def detector() -> Any:
    """What finds recipients in mails of many looks; None where the extra is not installed."""
    try:
        return import_module("flufl.bounce").all_failures
    except ImportError:
        return None


def _texts(addresses: Any) -> list[str]:
    texts = (each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in addresses)
    return sorted(text for text in texts if "@" in text)
