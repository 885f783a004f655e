"""Complaints: abuse reports (RFC 5965), and those that Microsoft's feedback loop sends without one."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message

from ..deliveries.report import Kind
from .notice import Notice
from .parts import address_in, blocks_of, header, outer_parts

__all__ = ["complaint_of", "feedback_blocks", "unmarked_complaint_of"]

#: Feedback types by which a recipient complains. Not `not-spam`, and not the reports of authentication (RFC 6591).
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "other", "opt-out", "opt-out-list"})

_RECIPIENT_FIELDS = ("Original-Rcpt-To", "Removal-Recipient")

#: Microsoft's "Junk Mail Reporting Program" attaches the mail, with its recipient in this header.
_JMRP = "X-HmXmrOriginalRecipient"


def feedback_blocks(mail: Message[str, str]) -> list[Message[str, str]] | None:
    """The fields of an abuse report; None where the mail is none."""
    part = next((part for part in outer_parts(mail) if part.get_content_type() == "message/feedback-report"), None)
    return None if part is None else blocks_of(part)


def complaint_of(blocks: Sequence[Message[str, str]]) -> Notice | None:
    """The complaint of an abuse report; None where it reports something else."""
    kind = next((header(block, "Feedback-Type").lower() for block in blocks if "Feedback-Type" in block), "")
    if kind not in _COMPLAINTS:
        return None
    fields = (header(block, name) for block in blocks for name in _RECIPIENT_FIELDS)
    recipient = next((address for text in fields if (address := address_in(text))), None)
    return Notice(kind=Kind.COMPLAINED, recipient=recipient, reason=kind)


def unmarked_complaint_of(mail: Message[str, str]) -> Notice | None:
    """The complaint of a mail that carries ours with a header in which a feedback loop names the recipient."""
    for part in outer_parts(mail):
        payload = part.get_payload()
        if part.get_content_type() != "message/rfc822" or not isinstance(payload, list):
            continue
        for original in payload:
            recipient = address_in(header(original, _JMRP)) if isinstance(original, Message) else None
            if recipient is not None:
                return Notice(kind=Kind.COMPLAINED, recipient=recipient, reason="abuse")
    return None
