"""`SQLiteSuppression`: the suppression list in a table of the store's file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...suppression import Cause, SuppressedAddress
from ..erased_pages import PAGE
from ..packing import pack_text, pack_time, unpack_text, unpack_time
from ..suppression import SuppressionList
from .file import SQLiteFile

__all__ = ["SQLiteSuppression"]

_ADD = """
    INSERT INTO suppressed (address, cause, at, message_id) VALUES (?, ?, ?, ?)
    ON CONFLICT (address, cause) DO NOTHING
"""
_COLUMNS = "SELECT address, cause, at, message_id FROM suppressed"
_PAGE = f"{_COLUMNS} WHERE (address, cause) > (?, ?) ORDER BY address, cause LIMIT ?"

# SQLite takes no more than 999 parameters in older builds.
_PER_STATEMENT = 500


class SQLiteSuppression(SuppressionList):
    """The list in a file."""

    def __init__(self, file: SQLiteFile) -> None:
        self._file = file

    def add(self, entries: Sequence[SuppressedAddress]) -> int:
        rows = [_row(entry) for entry in entries]
        with self._file.writing() as connection:
            return max(0, connection.executemany(_ADD, rows).rowcount)

    def find(self, addresses: Sequence[str]) -> list[SuppressedAddress]:
        found: list[SuppressedAddress] = []
        with self._file.connection() as connection:
            for some in _batches(addresses):
                query = f"{_COLUMNS} WHERE address IN ({_marks(some)})"
                found += [_entry(*row) for row in connection.execute(query, some)]
        return found

    def remove(self, addresses: Sequence[str]) -> int:
        number = 0
        with self._file.writing() as connection:
            for some in _batches(addresses):
                # Only question marks are put in.
                statement = f"DELETE FROM suppressed WHERE address IN ({_marks(some)})"  # noqa: S608  # nosec B608
                number += connection.execute(statement, some).rowcount
        return number

    def pages(self) -> Iterator[Sequence[SuppressedAddress]]:
        last = ("", "")
        while True:
            with self._file.connection() as connection:
                rows = connection.execute(_PAGE, (*last, PAGE)).fetchall()
            if not rows:
                return
            yield [_entry(*row) for row in rows]
            last = (rows[-1][0], rows[-1][1])


def _batches(addresses: Sequence[str]) -> Iterator[list[str]]:
    packed = [pack_text(each) for each in dict.fromkeys(addresses)]
    return (packed[start : start + _PER_STATEMENT] for start in range(0, len(packed), _PER_STATEMENT))


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def _row(entry: SuppressedAddress) -> tuple[Any, ...]:
    return pack_text(entry.address), entry.cause.value, pack_time(entry.at), pack_text(entry.message_id)


def _entry(address: str, cause: str, at: str, message_id: str | None) -> SuppressedAddress:
    return SuppressedAddress(
        address=unpack_text(address), cause=Cause(cause), at=unpack_time(at), message_id=unpack_text(message_id)
    )
