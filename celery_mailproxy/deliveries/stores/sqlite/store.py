"""Deliveries in an SQLite file: the default, for all the processes of one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from ....errors import ConfigurationError, DamagedRecord
from ...delivery import Delivery, failed_entries, undispatched_since
from ...report import utcnow
from ...suspension import silent_since
from ..base import COUNTS_KEPT, Retention, count_span
from ..codec import decode_delivery, encode_delivery, encode_suspension
from ..erased_pages import PAGE
from ..outbox import Outbox
from ..packing import pack_text, unpack_text
from ..row_store import Loaded, Rows, RowStore, page_on, unique
from .file import SQLiteFile, is_public
from .outbox import SQLiteOutbox
from .suppression import SQLiteSuppression

__all__ = ["SQLiteStore"]

# Names the columns it writes: a later schema may have more, and they are to survive.
_SAVE = """
    INSERT INTO deliveries
        (message_id, head, static, expires_ms, has_failed, suspension, silent_ms, undispatched_ms, due_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (message_id) DO UPDATE SET head = excluded.head, static = excluded.static,
        expires_ms = excluded.expires_ms, has_failed = excluded.has_failed, suspension = excluded.suspension,
        silent_ms = excluded.silent_ms, undispatched_ms = excluded.undispatched_ms, due_ms = excluded.due_ms
"""
_PUT_OFF = "UPDATE deliveries SET due_ms = ? WHERE message_id = ? AND due_ms IS NOT NULL"
_PRUNE = """
    DELETE FROM deliveries
    WHERE rowid IN (SELECT rowid FROM deliveries WHERE expires_ms <= ? ORDER BY expires_ms LIMIT ?)
"""

_SET_VALUE = """
    INSERT INTO operator_values (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_COUNT = """
    INSERT INTO counts (span, name, number) VALUES (?, ?, ?)
    ON CONFLICT (span, name) DO UPDATE SET number = number + excluded.number
"""

# SQLite takes no more than 999 parameters in older builds.
_IDS_PER_SELECT = 500

# Other writers get a turn between two batches.
_PRUNED_AT_ONCE = 500


class SQLiteStore(RowStore):
    """A store in one file (with `-wal` and `-shm` beside it), for any number of threads and processes of one machine.

    Not for network file systems: SQLite's log needs shared memory. With `synchronous="full"` each call is on the disk
    before it returns; with `"normal"` it is several times faster, survives the death of any process, and may lose the
    last calls when the machine itself fails. `timeout_seconds` is how long a call waits for other writers.
    """

    def __init__(
        self,
        path: str | Path,
        retention: Retention,
        *,
        clock: Callable[[], datetime] = utcnow,
        timeout_seconds: float = 10.0,
        synchronous: str = "full",
    ) -> None:
        super().__init__(retention, clock=clock)
        self._file = SQLiteFile(path, timeout_seconds=timeout_seconds, synchronous=synchronous)
        self.suppression = SQLiteSuppression(self._file)

    @classmethod
    def from_url(cls, url: str, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> SQLiteStore:
        """`sqlite:///relative.db`, `sqlite:////absolute.db`; options `synchronous`, `timeout_seconds`."""
        place, _, query = url.removeprefix("sqlite://").partition("?")
        options = dict(parse_qsl(query))
        synchronous = options.pop("synchronous", "full")
        timeout_seconds = _seconds(options.pop("timeout_seconds", "10"))
        path = unquote(place.removeprefix("/"))
        if not place.startswith("/") or path in ("", ":memory:") or options:
            raise ConfigurationError(
                f"a sqlite store must be sqlite:///relative.db or sqlite:////absolute/path.db, with no options but "
                f"synchronous and timeout_seconds, got {url!r}; without a file use memory://"
            )
        return cls(path, retention, clock=clock, timeout_seconds=timeout_seconds, synchronous=synchronous)

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The file, by its absolute path."""
        return self._file.path

    @property
    def outbox(self) -> Outbox:
        return SQLiteOutbox(self._file)

    def get(self, message_id: str) -> Delivery | None:
        loaded = self._load([message_id])
        loaded.refuse_damage()
        return loaded.deliveries.get(message_id)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        loaded = self._load(unique(message_ids))
        self._pass_over(loaded.damaged)
        return [loaded.deliveries.get(message_id) for message_id in message_ids]

    def undispatched(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        query = "SELECT message_id FROM deliveries WHERE undispatched_ms < ? ORDER BY undispatched_ms, rowid"
        return self._find(query, before, limit)

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        query = "SELECT message_id FROM deliveries WHERE silent_ms < ? ORDER BY silent_ms, rowid"
        return self._find(query, before, limit)

    def due(self, *, now: datetime, limit: int = 100) -> list[Delivery]:
        query = "SELECT message_id FROM deliveries WHERE due_ms < ? ORDER BY due_ms, rowid"
        return self._find(query, now, limit)

    def put_off(self, message_ids: Sequence[str], *, until: datetime) -> None:
        moment = _milliseconds(until)
        with self._file.writing() as connection:
            connection.executemany(_PUT_OFF, [(moment, pack_text(each)) for each in message_ids])

    def _find(self, query: str, before: datetime, limit: int) -> list[Delivery]:
        def read(start: int) -> tuple[int, list[Delivery]]:
            with self._file.connection() as connection:
                rows = connection.execute(f"{query} LIMIT ? OFFSET ?", (_milliseconds(before), limit, start)).fetchall()
            found = self.get_many([unpack_text(row[0]) for row in rows])
            return len(rows), [each for each in found if each is not None]

        return page_on(read, limit)

    def _load(self, message_ids: Sequence[str]) -> Loaded:
        with self._file.connection() as connection:
            return _SQLiteRows(connection, self.retention).load(message_ids)

    def failed(self, *, limit: int = 100) -> list[str]:
        with self._file.connection() as connection:
            query = "SELECT message_id FROM deliveries WHERE has_failed = 1 LIMIT ?"
            return [unpack_text(row[0]) for row in connection.execute(query, (limit,))]

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        moment = _milliseconds(now or self.clock())
        number = 0
        while number < limit:
            batch = min(_PRUNED_AT_ONCE, limit - number)
            with self._file.writing() as connection:
                deleted = connection.execute(_PRUNE, (moment, batch)).rowcount
            number += deleted
            if deleted < batch:
                break
        with self._file.writing() as connection:
            connection.execute("DELETE FROM counts WHERE span < ?", (moment // 1000 - COUNTS_KEPT.total_seconds(),))
        return number

    def _id_pages(self) -> Iterator[Sequence[str]]:
        query = "SELECT message_id FROM deliveries WHERE message_id > ? ORDER BY message_id LIMIT ?"
        # As it is written: what comes after it does not change by being read.
        last = ""
        while True:
            with self._file.connection() as connection:
                page = [row[0] for row in connection.execute(query, (last, PAGE))]
            if not page:
                return
            yield [unpack_text(each) for each in page]
            last = page[-1]

    def get_value(self, name: str) -> str | None:
        with self._file.connection() as connection:
            row = connection.execute("SELECT value FROM operator_values WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_value(self, name: str, value: str | None) -> None:
        with self._file.writing() as connection:
            _write_value(connection, name, value)

    def swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        with self._file.writing() as connection:
            row = connection.execute("SELECT value FROM operator_values WHERE name = ?", (name,)).fetchone()
            is_same = (None if row is None else row[0]) == before
            if is_same:
                _write_value(connection, name, after)
        return is_same

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        with self._file.writing() as connection:
            connection.executemany(_COUNT, [(count_span(at), name, number) for name, number in numbers.items()])

    def counts(self, *, since: datetime) -> dict[str, int]:
        query = "SELECT name, SUM(number) FROM counts WHERE span >= ? GROUP BY name"
        with self._file.connection() as connection:
            return {name: int(number) for name, number in connection.execute(query, (count_span(since),))}

    def check(self) -> str:
        # A write transaction, since a file can be readable and yet of no use.
        with self._file.writing() as connection:
            connection.execute("SELECT message_id FROM deliveries LIMIT 1").fetchone()
        readers = f"; every user of this machine can read it: chmod o= {self.path}*" if is_public(self.path) else ""
        return f"SQLite {sqlite3.sqlite_version}, {self.path}{readers}"

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _transaction(self) -> Iterator[Rows]:
        with self._file.writing() as connection:
            yield _SQLiteRows(connection, self.retention)


class _SQLiteRows:
    """The rows as one open transaction (or a single read) sees them."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention) -> None:
        self._connection = connection
        self._retention = retention

    def load(self, message_ids: Sequence[str]) -> Loaded:
        found: dict[str, Delivery] = {}
        damaged: dict[str, str] = {}
        for start in range(0, len(message_ids), _IDS_PER_SELECT):
            ids = [pack_text(each) for each in message_ids[start : start + _IDS_PER_SELECT]]
            marks = ",".join("?" * len(ids))
            # Only question marks are put in.
            query = f"SELECT message_id, head, static, suspension FROM deliveries WHERE message_id IN ({marks})"  # noqa: S608  # nosec B608
            for packed, *texts in self._connection.execute(query, ids):
                message_id = unpack_text(packed)
                try:
                    found[message_id] = decode_delivery(message_id, *texts)
                except DamagedRecord as exc:
                    damaged[message_id] = exc.problem
        return Loaded(found, damaged)

    def save(self, deliveries: Sequence[Delivery]) -> None:
        self._connection.executemany(_SAVE, [self._row(delivery) for delivery in deliveries])

    def delete(self, message_ids: Sequence[str]) -> None:
        rows = [(pack_text(each),) for each in message_ids]
        self._connection.executemany("DELETE FROM deliveries WHERE message_id = ?", rows)

    def _row(self, delivery: Delivery) -> tuple[Any, ...]:
        return (
            pack_text(delivery.message_id),
            *encode_delivery(delivery),
            _milliseconds(self._retention.expires_at(delivery)),
            int(any(failed_entries(delivery))),
            encode_suspension(delivery.suspension, delivery.message_id),
            _optional_milliseconds(silent_since(delivery.suspension)),
            _optional_milliseconds(undispatched_since(delivery)),
            _optional_milliseconds(self._retention.due_at(delivery)),
        )


def _write_value(connection: sqlite3.Connection, name: str, value: str | None) -> None:
    if value is None:
        connection.execute("DELETE FROM operator_values WHERE name = ?", (name,))
    else:
        connection.execute(_SET_VALUE, (name, value))


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _optional_milliseconds(moment: datetime | None) -> int | None:
    return None if moment is None else _milliseconds(moment)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # SQLite counts in milliseconds of 32 bits; the comparison refuses NaN as well.
    if not 0 <= seconds <= 86400:
        raise ConfigurationError(f"timeout_seconds must be a number of seconds from 0 to 86400, got {text!r}")
    return seconds
