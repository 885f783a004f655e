"""`changed`: a checked mail with other recipients, subject or headers, checked again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import InvalidMessage
from .arguments import normalise_arguments
from .message import MailMessage
from .validation import compose

__all__ = ["changed"]

#: Headers that a field of the mail holds.
_FIELDS = frozenset({"to", "cc", "bcc", "subject"})
_FIXED = frozenset({"from", "reply-to", "sender", "date", "message-id"})


def changed(
    message: MailMessage,
    *,
    to: object = None,
    cc: object = None,
    bcc: object = None,
    subject: object = None,
    headers: Mapping[str, object] | None = None,
) -> MailMessage:
    """The mail with what is given in place of what it had.

    `to`, `cc` and `bcc` are as in `send_via_proxy`; who is named by one of them and by none of the others that were
    given gets the mail, and an `envelope` of its own it has no longer. `headers` are added, or replaced by their name
    in any case; None removes one. Raises `InvalidMessage`.
    """
    values = dict(headers or {})
    for name in values:
        lower = str(name).lower()
        if lower in _FIELDS:
            raise InvalidMessage(f"headers[{name!r}]", f"must be left out: give {lower} itself")
        if lower in _FIXED:
            raise InvalidMessage(f"headers[{name!r}]", "must be left out: it cannot be changed any more")
    removed = {str(name).lower() for name in values}
    readdressed = any(each is not None for each in (to, cc, bcc))
    given = normalise_arguments({"to": to, "cc": cc, "bcc": bcc, "subject": subject, "headers": values})
    if readdressed:
        given = {"to": list(message.to), "cc": list(message.cc), "bcc": list(message.bcc), **given}
    else:
        # Something that is right, for the check of the rest.
        given["bcc"] = [message.from_email]
    composed: dict[str, Any] = compose(
        {"message_id": message.message_id, "from_email": message.from_email, **given}, default_from=None
    )
    fields: dict[str, Any] = {
        "headers": tuple(each for each in message.headers if each[0].lower() not in removed) + composed["headers"]
    }
    if readdressed:
        fields |= {"to": composed["to"], "cc": composed["cc"], "bcc": composed["bcc"], "envelope": ()}
    if subject is not None:
        fields["subject"] = composed["subject"]
    return replace(message, **fields)
