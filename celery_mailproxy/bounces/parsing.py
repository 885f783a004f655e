"""From a mail to what it says: a bounce, a complaint, or neither."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from .clues import clues_of
from .complaints import complaint_of, feedback_blocks, unmarked_complaint_of
from .notice import Notice, Reading
from .parts import header, moment_of
from .plain_notices import plain_notices
from .status_reports import notices_of, status_blocks

__all__ = ["read_mail"]


def read_mail(source: bytes) -> Reading | None:
    """What a mail from the bounce mailbox says; None where it is neither a bounce nor a complaint.

    None are replies, of people and of programs, notices of a delay, and those of success. `source` may be cut off: what
    matters stands at the beginning.
    """
    mail = message_from_bytes(source)
    notices, report = _notices(mail)
    if not notices:
        return None
    return Reading(notices=tuple(notices), clues=clues_of(mail, report), at=moment_of(header(mail, "Date")))


def _notices(mail: Message[str, str]) -> tuple[list[Notice], list[Message[str, str]]]:
    """The notices, and the blocks of fields that they stand in."""
    if (blocks := feedback_blocks(mail)) is not None:
        complaint = complaint_of(blocks)
        return [complaint] if complaint else [], blocks
    if (blocks := status_blocks(mail)) is not None:
        return notices_of(mail, blocks), blocks
    if mail.get_param("report-type") == "disposition-notification":
        return [], []
    complaint = unmarked_complaint_of(mail)
    return [complaint] if complaint else plain_notices(mail), []
