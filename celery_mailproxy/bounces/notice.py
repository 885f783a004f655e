"""What a mail from the bounce mailbox says: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ..deliveries.report import Kind

__all__ = ["BounceType", "Clues", "Notice", "Reading"]

#: `hard`: the address is no good, and will not become any better. `soft`: another mail may arrive; also where a mail
#: was refused for its content or its sender. None: nothing says which.
BounceType = Literal["hard", "soft"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What happened to a mail for one recipient; `recipient` is None where the notice does not say whose.

    `code` is the enhanced status (RFC 3463) where there is one, else the SMTP reply's.
    """

    kind: Kind
    recipient: str | None = field(default=None, repr=False)
    code: str | None = None
    bounce_type: BounceType = None
    reason: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """Which mail it is about: the likeliest first.

    `message_ids` are values of Message-ID headers, without angle brackets; `addresses` are those that the notice was
    sent to, or the mail was sent from, one of which may be a VERP address.
    """

    message_ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A bounce or a complaint: one notice or more, about one mail. `at` is its Date header, where it has one."""

    notices: tuple[Notice, ...]
    clues: Clues
    at: datetime | None = None
