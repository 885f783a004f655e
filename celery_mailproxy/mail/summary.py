"""`summary_of`: what is kept of a message for people who look at its delivery."""

from __future__ import annotations

from typing import Any

from .message import MailMessage

__all__ = ["summary_of"]

#: How much of a subject is kept where the store has no columns for the envelope.
_SUBJECT_LENGTH = 100


def summary_of(message: MailMessage, *, keeps_envelope: bool) -> dict[str, Any]:
    """`subject` and the number of `recipients`; for a store that keeps the envelope also `from`, `to`, `priority`."""
    recipients = list(message.recipients)
    if not keeps_envelope:
        return {"subject": message.subject[:_SUBJECT_LENGTH], "recipients": len(recipients)}
    return {
        "subject": message.subject,
        "recipients": len(recipients),
        "from": message.from_email,
        "to": recipients,
        "priority": int(message.priority),
    }
