"""`DjangoOutbox`: tasks' messages in Django's database, in the transaction of whoever sends the mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial, reduce
from operator import or_
from typing import Any

from django.db.models import Q

from ...deliveries.stores.erased_pages import PAGE
from ...deliveries.stores.outbox import Outbox, OutboxEntry, Turn
from .database import own_connection
from .fields import aware
from .off_loop import off_loop
from .routing import log_alias
from .row_texts import exact, inexact
from .values import OutboxMessage

__all__ = ["DjangoOutbox", "insert"]

# SQLite takes no more than 999 parameters in older builds.
_IDS_AT_ONCE = 500
# Each entry takes three of them, and SQLite's expressions are no deeper than 1000.
_ENTRIES_AT_ONCE = 200


class DjangoOutbox(Outbox):
    """The outbox in the table of `OutboxMessage`. `run` runs a call as `DjangoStore` runs its own.

    What is put inside a transaction of the caller's is there once that is committed, and not at all if it is undone.
    An id of more than 255 characters comes back as its digest: whoever needs the id has it in the content.
    """

    def __init__(self, run: Callable[[Callable[[], Any]], Any]) -> None:
        self._run = run

    @property
    def is_open(self) -> bool:
        return not own_connection(log_alias()).in_atomic_block

    def put(self, entries: Sequence[OutboxEntry]) -> None:
        # Off the event loop: this one is called by whoever calls `.delay()`.
        off_loop(partial(self._run, partial(insert, entries)))

    def due(self, *, now: datetime, limit: int) -> list[OutboxEntry]:
        rows = _all().filter(due_at__lte=now).order_by("due_at")[:limit]
        found: list[OutboxEntry] = self._run(lambda: [_entry(row) for row in rows])
        return found

    def republish(self, entry: OutboxEntry, *, due_at: datetime) -> OutboxEntry | None:
        after = replace(entry, copies=entry.copies + 1, due_at=due_at)
        row = _all().filter(_as_read(entry))
        is_as_read = self._run(lambda: row.update(copies=after.copies, due_at=due_at, begun=None))
        return after if is_as_read else None

    def begin(self, task_id: str, copy: int, *, due_at: datetime) -> Turn:
        row = _all().filter(task_id=exact(task_id))
        free = row.filter(Q(begun=None) | Q(begun=copy))

        def begin() -> Turn:
            if free.update(begun=copy, due_at=due_at):
                return Turn.MINE
            return Turn.OTHERS if row.exists() else Turn.GONE

        turn: Turn = self._run(begin)
        return turn

    def reschedule(self, entries: Sequence[OutboxEntry], *, due_at: datetime) -> None:
        for start in range(0, len(entries), _ENTRIES_AT_ONCE):
            as_read = reduce(or_, map(_as_read, entries[start : start + _ENTRIES_AT_ONCE]))
            self._run(partial(_all().filter(as_read).update, due_at=due_at))

    def drop(self, task_ids: Sequence[str]) -> None:
        for rows in _batches(task_ids):
            self._run(rows.delete)

    def find(self, task_id: str) -> OutboxEntry | None:
        row = self._run(_all().filter(task_id=exact(task_id)).first)
        return None if row is None else _entry(row)

    def pages(self) -> Iterator[Sequence[OutboxEntry]]:
        last = 0
        while rows := self._run(partial(list, _all().filter(pk__gt=last).order_by("pk")[:PAGE])):
            yield [_entry(row) for row in rows]
            last = rows[-1].pk

    def overdue(self, *, now: datetime) -> int:
        number: int = self._run(_all().filter(due_at__lte=now).count)
        return number


def insert(entries: Sequence[OutboxEntry]) -> None:
    """Write the rows of these entries. Raises Django's database errors."""
    rows = [
        OutboxMessage(task_id=exact(each.task_id), content=each.content, due_at=each.due_at, copies=each.copies)
        for each in entries
    ]
    # Not to fail on a repeated id: inside the caller's transaction that would spoil all of it.
    OutboxMessage.objects.using(log_alias()).bulk_create(rows, ignore_conflicts=True)


def _all() -> Any:
    return OutboxMessage.objects.using(log_alias())


def _as_read(entry: OutboxEntry) -> Q:
    # Whoever begins with an entry, or publishes it, gives it another moment.
    return Q(task_id=exact(entry.task_id), copies=entry.copies, due_at=entry.due_at)


def _batches(task_ids: Sequence[str]) -> Any:
    for start in range(0, len(task_ids), _IDS_AT_ONCE):
        yield _all().filter(task_id__in=[exact(each) for each in task_ids[start : start + _IDS_AT_ONCE]])


def _entry(row: OutboxMessage) -> OutboxEntry:
    task_id = inexact(row.task_id)
    return OutboxEntry(
        task_id=row.task_id if task_id is None else task_id,
        content=row.content,
        due_at=aware(row.due_at),
        copies=row.copies,
    )
