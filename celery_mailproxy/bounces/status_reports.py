"""Delivery status notifications (RFC 3464; RFC 6522; RFC 6533 for addresses beyond ASCII)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from email.message import Message

from ..deliveries.report import Kind
from .codes import bounce_type_of, enhanced_code, reply_code
from .notice import Notice
from .parts import address_in, blocks_of, header, outer_parts, text_of

__all__ = ["notices_of", "status_blocks"]

_KINDS = frozenset({"message/delivery-status", "message/global-delivery-status"})

#: Fields of a recipient's block, the one first that holds the address that we wrote to.
_RECIPIENT_FIELDS = ("Original-Recipient", "Final-Recipient", "X-Actual-Recipient")

_TYPED = re.compile(r"^\s*[\w.\-]+\s*;\s*")


def status_blocks(mail: Message[str, str]) -> list[Message[str, str]] | None:
    """The blocks of fields of a delivery status notification; None where the mail is none."""
    part = next((part for part in outer_parts(mail) if part.get_content_type() in _KINDS), None)
    return None if part is None else blocks_of(part)


def notices_of(mail: Message[str, str], blocks: Sequence[Message[str, str]]) -> list[Notice]:
    """A notice for each recipient whom the mail did not reach; none for what is delayed, relayed or delivered."""
    recipients = [block for block in blocks if any(name in block for name in (*_RECIPIENT_FIELDS, "Action", "Status"))]
    failed = [block for block in recipients if _has_failed(block)]
    return [_notice(block, _told(mail) if len(failed) == 1 else "") for block in failed]


def _has_failed(block: Message[str, str]) -> bool:
    action = header(block, "Action").lower()
    if action:
        return action.startswith("fail")
    return header(block, "Status").startswith("5")


def _notice(block: Message[str, str], told: str) -> Notice:
    diagnostic = _TYPED.sub("", header(block, "Diagnostic-Code"))
    status = _status(header(block, "Status"), diagnostic, told)
    reply = reply_code(diagnostic)
    words = diagnostic if _says_something(diagnostic) else f"{diagnostic} {told}".strip()
    return Notice(
        kind=Kind.BOUNCED,
        recipient=next(_recipients(block), None),
        code=status or reply,
        bounce_type=bounce_type_of(status, reply, words),
        reason=diagnostic or told or None,
    )


def _status(field: str, diagnostic: str, told: str) -> str | None:
    """The status that says most: servers that know no better write 5.0.0, and quote one that does."""
    stated = enhanced_code(field)
    if stated is not None and not stated.endswith(".0.0") and stated not in ("5.3.0", "5.5.0", "5.4.0"):
        return stated
    quoted = enhanced_code(diagnostic) or (None if _says_something(diagnostic) else enhanced_code(told))
    return quoted or stated


def _says_something(diagnostic: str) -> bool:
    return re.search(r"[^\W\d_]{3}", diagnostic) is not None


def _recipients(block: Message[str, str]) -> Iterator[str]:
    for name in _RECIPIENT_FIELDS:
        address = address_in(_TYPED.sub("", header(block, name)))
        if address is not None:
            yield address


def _told(mail: Message[str, str]) -> str:
    """What the notification says to people, up to where it quotes."""
    for part in outer_parts(mail):
        if part.get_content_type() == "text/plain":
            return " ".join(text_of(part).split())
    return ""
