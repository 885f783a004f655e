"""`Outgoing`: a message on its way to the proxy, with what is to be remembered of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...deliveries.suspension import Suspension
from ...mail.message import MailMessage
from .callbacks import Callbacks

__all__ = ["Outgoing", "id_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message on its way out, with the callbacks to remember for it; `members` and `parent_id` as in `Delivery`."""

    message: MailMessage
    callbacks: Callbacks = field(default_factory=dict, repr=False)
    suspension: Suspension | None = None
    members: tuple[str, ...] = field(default=(), repr=False)
    parent_id: str | None = None


def id_of(outgoing: Outgoing) -> str:
    """Its message id."""
    return outgoing.message.message_id
