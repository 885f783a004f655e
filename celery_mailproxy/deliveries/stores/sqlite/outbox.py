"""`SQLiteOutbox`: tasks' messages in a table of the store's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from ..erased_pages import PAGE
from ..outbox import Outbox, OutboxEntry, Turn
from ..packing import pack_text, unpack_text
from .file import SQLiteFile

__all__ = ["SQLiteOutbox"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_PUT = "INSERT INTO outbox (task_id, content, due_ms, copies) VALUES (?, ?, ?, ?) ON CONFLICT (task_id) DO NOTHING"
_DUE = "SELECT task_id, content, due_ms, copies FROM outbox WHERE due_ms <= ? ORDER BY due_ms LIMIT ?"
_FIND = "SELECT task_id, content, due_ms, copies FROM outbox WHERE task_id = ?"
_PAGE = "SELECT task_id, content, due_ms, copies FROM outbox WHERE task_id > ? ORDER BY task_id LIMIT ?"
# Whoever begins with an entry, or publishes it, gives it another moment.
_REPUBLISH = (
    "UPDATE outbox SET copies = copies + 1, due_ms = ?, begun = NULL WHERE task_id = ? AND copies = ? AND due_ms = ?"
)
_RESCHEDULE = "UPDATE outbox SET due_ms = ? WHERE task_id = ? AND copies = ? AND due_ms = ?"
_BEGIN = "UPDATE outbox SET begun = ?, due_ms = ? WHERE task_id = ? AND (begun IS NULL OR begun = ?)"


class SQLiteOutbox(Outbox):
    """The outbox in a file. Moments are kept in milliseconds."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    def put(self, entries: Sequence[OutboxEntry]) -> None:
        rows = [(pack_text(each.task_id), each.content, _milliseconds(each.due_at), each.copies) for each in entries]
        with self._file.writing() as connection:
            connection.executemany(_PUT, rows)

    def due(self, *, now: datetime, limit: int) -> list[OutboxEntry]:
        with self._file.connection() as connection:
            rows = connection.execute(_DUE, (_milliseconds(now), limit)).fetchall()
        return [_entry(*row) for row in rows]

    def republish(self, entry: OutboxEntry, *, due_at: datetime) -> OutboxEntry | None:
        with self._file.writing() as connection:
            is_as_read = connection.execute(_REPUBLISH, (_milliseconds(due_at), *_as_read(entry))).rowcount
        return replace(entry, copies=entry.copies + 1, due_at=due_at) if is_as_read else None

    def begin(self, task_id: str, copy: int, *, due_at: datetime) -> Turn:
        key = pack_text(task_id)
        with self._file.writing() as connection:
            if connection.execute(_BEGIN, (copy, _milliseconds(due_at), key, copy)).rowcount:
                return Turn.MINE
            is_there = connection.execute("SELECT 1 FROM outbox WHERE task_id = ?", (key,)).fetchone()
        return Turn.OTHERS if is_there else Turn.GONE

    def reschedule(self, entries: Sequence[OutboxEntry], *, due_at: datetime) -> None:
        moment = _milliseconds(due_at)
        with self._file.writing() as connection:
            connection.executemany(_RESCHEDULE, [(moment, *_as_read(each)) for each in entries])

    def drop(self, task_ids: Sequence[str]) -> None:
        with self._file.writing() as connection:
            connection.executemany("DELETE FROM outbox WHERE task_id = ?", [(pack_text(each),) for each in task_ids])

    def find(self, task_id: str) -> OutboxEntry | None:
        with self._file.connection() as connection:
            row = connection.execute(_FIND, (pack_text(task_id),)).fetchone()
        return None if row is None else _entry(*row)

    def pages(self) -> Iterator[Sequence[OutboxEntry]]:
        last = ""
        while True:
            with self._file.connection() as connection:
                rows = connection.execute(_PAGE, (last, PAGE)).fetchall()
            if not rows:
                return
            yield [_entry(*row) for row in rows]
            last = rows[-1][0]

    def overdue(self, *, now: datetime) -> int:
        with self._file.connection() as connection:
            count = connection.execute("SELECT COUNT(*) FROM outbox WHERE due_ms <= ?", (_milliseconds(now),))
            return int(count.fetchone()[0])


def _entry(task_id: str, content: str, due_ms: int, copies: int) -> OutboxEntry:
    due_at = _EPOCH + timedelta(milliseconds=due_ms)
    return OutboxEntry(task_id=unpack_text(task_id), content=content, due_at=due_at, copies=copies)


def _as_read(entry: OutboxEntry) -> tuple[str, int, int]:
    return pack_text(entry.task_id), entry.copies, _milliseconds(entry.due_at)


def _milliseconds(moment: datetime) -> int:
    # Exact, as a float is not: what was read is to be found by it.
    return (moment - _EPOCH) // timedelta(milliseconds=1)
