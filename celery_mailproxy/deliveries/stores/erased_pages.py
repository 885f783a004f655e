"""Erasing an address, a page at a time: what the stores share."""

from __future__ import annotations

from collections.abc import Iterator

from ..erasing import may_be_in_message
from ..sought_address import SoughtAddress
from .base import Erased, Kept
from .outbox import Outbox

__all__ = ["PAGE", "in_outbox"]

#: So many records are looked at in one step; others get their turn in between.
PAGE = 200


def in_outbox(outbox: Outbox, sought: SoughtAddress) -> Iterator[Erased]:
    """The tasks that hold the address, or may: their mails are still to be sent, and are dropped after that."""
    for entries in outbox.pages():
        holding = [each.task_id for each in entries if may_be_in_message(sought, each.content)]
        yield Erased(looked_at=len(entries), kept=tuple(Kept(kind="task", id=each) for each in holding))
