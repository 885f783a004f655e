"""`summary_of`: what is kept of a message for people who look at its delivery."""

from __future__ import annotations

from typing import Any

from .message import MailMessage
from .unencoded_headers import left_out

__all__ = ["summary_of"]

#: How much of a subject is kept where the store has no columns for the envelope.
_SUBJECT_LENGTH = 100


def summary_of(message: MailMessage, *, keeps_envelope: bool) -> dict[str, Any]:
    """`subject` and the number of `recipients`; for a store that keeps the envelope also `from`, `to`, `priority`.

    `left_out` names headers of which an id was too long for the proxy.
    """
    recipients = list(message.recipients)
    altered = {"left_out": names} if (names := left_out(message.headers)) else {}
    if not keeps_envelope:
        return {"subject": message.subject[:_SUBJECT_LENGTH], "recipients": len(recipients), **altered}
    return {
        **altered,
        "subject": message.subject,
        "recipients": len(recipients),
        "from": message.from_email,
        "to": recipients,
        "priority": int(message.priority),
    }
