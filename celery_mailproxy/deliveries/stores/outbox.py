"""The contract of an outbox: tasks' messages that a store keeps until their mails are with the proxy.

`tests/contract/test_outbox_contract.py` holds every store to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

__all__ = ["Outbox", "OutboxEntry", "Turn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """A task's message.

    `content` is what publishes it, in characters that every store takes (see `tasks.sending.outgoing_tasks`); it holds
    mails. At `due_at` it is to be published again, if it is still there. `copies` says how often it has been.
    """

    task_id: str
    content: str = field(repr=False)
    due_at: datetime
    copies: int = 0


class Turn(str, Enum):
    """What a run of a task finds in the outbox."""

    MINE = "mine"  #: it is the first to begin, or it goes on with what it began
    OTHERS = "others"  #: another copy of the same message has begun
    GONE = "gone"  #: no such entry: the task is done, or was never kept

    def __str__(self) -> str:
        return self.value


class Outbox(ABC):
    """Messages by their task's id. Safe to share between threads, as the store is; each method is atomic for an entry.

    A message may be on the broker several times: it was published again, since nobody had begun with it. Its copies are
    numbered from 0. The first that begins has the turn, through its retries, until it is done or silent for too long.
    """

    @property
    def is_open(self) -> bool:
        """False where what is put now stays invisible to others for a while: in a transaction of the caller's."""
        return True

    @abstractmethod
    def put(self, entries: Sequence[OutboxEntry]) -> None:
        """Keep each entry unless its task id is there already. One round trip for all."""

    @abstractmethod
    def due(self, *, now: datetime, limit: int) -> list[OutboxEntry]:
        """Up to `limit` entries whose moment has come, those that have waited longest first."""

    @abstractmethod
    def republish(self, entry: OutboxEntry, *, due_at: datetime) -> OutboxEntry | None:
        """Note, before it is done, that one more copy is published, and when to look again: the entry as it is then.

        Whoever begins next has the turn. None, and nothing is noted, where the entry is not as it was read any more: a
        run has begun with it or has dropped it, or somebody else publishes it.
        """

    @abstractmethod
    def begin(self, task_id: str, copy: int, *, due_at: datetime) -> Turn:
        """A run of that copy begins, or will at another try: it is not published again before `due_at`."""

    @abstractmethod
    def reschedule(self, entries: Sequence[OutboxEntry], *, due_at: datetime) -> None:
        """Let these be due at another moment: the broker did not take them.

        Those that are not as they were read any more are left alone: the broker had taken one after all, say, and a run
        has begun with it.
        """

    @abstractmethod
    def drop(self, task_ids: Sequence[str]) -> None:
        """Forget these. One round trip for all."""

    @abstractmethod
    def find(self, task_id: str) -> OutboxEntry | None:
        """The entry of a task, if it is still there."""

    @abstractmethod
    def pages(self) -> Iterator[Sequence[OutboxEntry]]:
        """All entries, some hundred at a time. Those that are put or dropped meanwhile may be missing."""

    @abstractmethod
    def overdue(self, *, now: datetime) -> int:
        """How many entries are due: for people who watch."""
