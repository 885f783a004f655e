"""The contract of a mailbox: what is new in it, and how a mail of it is marked as read.

A mailbox keeps nothing itself. What it has to know of earlier looks, its *place*, is a value of JSON that the store
keeps: see `reader`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any

__all__ = ["MAX_SOURCE_BYTES", "FoundMail", "Mailbox"]

#: How much of a mail is read: a bounce says all it has to say before it quotes.
MAX_SOURCE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMail:
    """An unread mail: its key in the mailbox, its source, cut off where it is long, and when it came, if known."""

    key: str
    source: bytes = field(repr=False)
    received_at: datetime | None = None


class Mailbox(ABC):
    """Connected while it is entered. Every method raises `MailboxError` where the mailbox cannot be reached."""

    #: Where it is, without user and password: for people.
    name: str

    @property
    def identity(self) -> str:
        """What tells it from other mailboxes. Not to be shown."""
        return self.name

    @abstractmethod
    def __enter__(self) -> Mailbox: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def unread(self, place: Any, *, limit: int) -> list[FoundMail]:
        """Up to `limit` unread mails that `place` does not know, the oldest first. They stay unread.

        `place` is what `place_after` has answered last; None, and whatever is not this mailbox's, stands for nothing.
        """

    @abstractmethod
    def mark_seen(self, mails: Sequence[FoundMail]) -> None:
        """Mark these mails as read."""

    @abstractmethod
    def place_after(self, place: Any, mails: Sequence[FoundMail]) -> Any:
        """The place once all of these mails, which `unread` gave for `place`, have been looked at."""
