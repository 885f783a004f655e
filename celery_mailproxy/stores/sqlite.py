"""Deliveries in an SQLite file: the default, for all the processes of one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from ..deliveries import Delivery, failed_entries
from ..errors import ConfigurationError, StoreError
from ..reports import utcnow
from ..suspensions import RESTING
from .base import COUNTS_KEPT, Retention, count_span
from .codec import decode_delivery, encode_delivery, encode_suspension, pack_text, unpack_text
from .rows import Rows, RowStore, unique
from .sqlite_pool import ConnectionPool, retry_while_locked

__all__ = ["SQLiteStore"]

#: Each step brings a file from the schema version that is its index to the next one (`PRAGMA user_version`).
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # expires_ms: unix milliseconds; unresting_ms: since when a suspended result is neither waiting nor done.
        """CREATE TABLE deliveries (
            message_id TEXT NOT NULL PRIMARY KEY,
            head TEXT NOT NULL,
            static TEXT NOT NULL,
            expires_ms INTEGER NOT NULL,
            has_failed INTEGER NOT NULL DEFAULT 0,
            suspension TEXT,
            unresting_ms INTEGER
        )""",
        "CREATE INDEX deliveries_expires ON deliveries (expires_ms)",
        "CREATE INDEX deliveries_failed ON deliveries (has_failed) WHERE has_failed = 1",
        "CREATE INDEX deliveries_unresting ON deliveries (unresting_ms) WHERE unresting_ms IS NOT NULL",
    ),
    (
        "CREATE TABLE operator_values (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
        # span: unix seconds of the beginning of ten minutes.
        """CREATE TABLE counts (
            span INTEGER NOT NULL,
            name TEXT NOT NULL,
            number INTEGER NOT NULL,
            PRIMARY KEY (span, name)
        )""",
    ),
)

# Names the columns it writes: a later schema may have more, and they are to survive.
_SAVE = """
    INSERT INTO deliveries (message_id, head, static, expires_ms, has_failed, suspension, unresting_ms)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (message_id) DO UPDATE SET head = excluded.head, static = excluded.static,
        expires_ms = excluded.expires_ms, has_failed = excluded.has_failed, suspension = excluded.suspension,
        unresting_ms = excluded.unresting_ms
"""
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

_SYNCHRONOUS = ("full", "normal")

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
        if synchronous not in _SYNCHRONOUS:
            raise ConfigurationError(f"synchronous must be 'full' or 'normal', got {synchronous!r}")
        super().__init__(retention, clock=clock)
        # Absolute at once: a process may change its directory later.
        self.path = Path(path).absolute()
        self._timeout_seconds = timeout_seconds
        self._synchronous = synchronous
        self._pool = ConnectionPool(self._connect)

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

    def get(self, message_id: str) -> Delivery | None:
        with self._connection() as connection:
            return _SQLiteRows(connection, self.retention).load([message_id]).get(message_id)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        with self._connection() as connection:
            found = _SQLiteRows(connection, self.retention).load(unique(message_ids))
        return [found.get(message_id) for message_id in message_ids]

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        with self._connection() as connection:
            query = "SELECT message_id FROM deliveries WHERE unresting_ms < ? ORDER BY unresting_ms LIMIT ?"
            rows = connection.execute(query, (_milliseconds(before), limit)).fetchall()
            return list(_SQLiteRows(connection, self.retention).load([unpack_text(row[0]) for row in rows]).values())

    def failed(self, *, limit: int = 100) -> list[str]:
        with self._connection() as connection:
            query = "SELECT message_id FROM deliveries WHERE has_failed = 1 LIMIT ?"
            return [unpack_text(row[0]) for row in connection.execute(query, (limit,))]

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        moment = _milliseconds(now or self.clock())
        number = 0
        while number < limit:
            batch = min(_PRUNED_AT_ONCE, limit - number)
            with self._writing() as connection:
                deleted = connection.execute(_PRUNE, (moment, batch)).rowcount
            number += deleted
            if deleted < batch:
                break
        with self._writing() as connection:
            connection.execute("DELETE FROM counts WHERE span < ?", (moment // 1000 - COUNTS_KEPT.total_seconds(),))
        return number

    def get_value(self, name: str) -> str | None:
        with self._connection() as connection:
            row = connection.execute("SELECT value FROM operator_values WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_value(self, name: str, value: str | None) -> None:
        with self._writing() as connection:
            if value is None:
                connection.execute("DELETE FROM operator_values WHERE name = ?", (name,))
            else:
                connection.execute(_SET_VALUE, (name, value))

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        with self._writing() as connection:
            connection.executemany(_COUNT, [(count_span(at), name, number) for name, number in numbers.items()])

    def counts(self, *, since: datetime) -> dict[str, int]:
        query = "SELECT name, SUM(number) FROM counts WHERE span >= ? GROUP BY name"
        with self._connection() as connection:
            return {name: int(number) for name, number in connection.execute(query, (count_span(since),))}

    def check(self) -> str:
        # A write transaction, since a file can be readable and yet of no use.
        with self._writing() as connection:
            connection.execute("SELECT message_id FROM deliveries LIMIT 1").fetchone()
        return f"SQLite {sqlite3.sqlite_version}, {self.path}"

    def close(self) -> None:
        """Close the connections that no other thread is using; those go when their call is done."""
        pool, self._pool = self._pool, ConnectionPool(self._connect)
        if pool.is_ours:
            pool.close()

    @contextmanager
    def _transaction(self) -> Iterator[Rows]:
        with self._writing() as connection:
            yield _SQLiteRows(connection, self.retention)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection, self._pool.write_lock:
            # IMMEDIATE: a transaction that begins by reading could not wait for another writer later on.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self._pool.is_ours:
            self._pool = ConnectionPool(self._connect)
        try:
            with self._pool.connection() as connection:
                yield connection
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(self._explain(exc)) from exc

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=self._timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            retry_while_locked(lambda: _use_wal(connection), timeout_seconds=self._timeout_seconds)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            _migrate(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _explain(self, exc: Exception) -> str:
        text = str(exc)
        if "locked" in text:
            return (
                f"the delivery store {self.path} was locked by another process for more than "
                f"{self._timeout_seconds:g} s; try again, and see which process holds it"
            )
        if "not a database" in text or "malformed" in text:
            return f"the delivery store {self.path} is damaged ({text}); move it away or restore a copy"
        return (
            f"the delivery store {self.path} cannot be used: {text}; the file and its folder must be writable by "
            f"this process"
        )


class _SQLiteRows:
    """The rows as one open transaction (or a single read) sees them."""

    def __init__(self, connection: sqlite3.Connection, retention: Retention) -> None:
        self._connection = connection
        self._retention = retention

    def load(self, message_ids: Sequence[str]) -> dict[str, Delivery]:
        found: dict[str, Delivery] = {}
        for start in range(0, len(message_ids), _IDS_PER_SELECT):
            ids = [pack_text(each) for each in message_ids[start : start + _IDS_PER_SELECT]]
            marks = ",".join("?" * len(ids))
            query = f"SELECT message_id, head, static, suspension FROM deliveries WHERE message_id IN ({marks})"  # noqa: S608
            for packed, *texts in self._connection.execute(query, ids):
                message_id = unpack_text(packed)
                found[message_id] = decode_delivery(message_id, *texts)
        return found

    def save(self, deliveries: Sequence[Delivery]) -> None:
        self._connection.executemany(_SAVE, [self._row(delivery) for delivery in deliveries])

    def _row(self, delivery: Delivery) -> tuple[Any, ...]:
        suspension = delivery.suspension
        is_resting = suspension is None or suspension.state in RESTING
        return (
            pack_text(delivery.message_id),
            *encode_delivery(delivery),
            _milliseconds(self._retention.expires_at(delivery)),
            int(any(failed_entries(delivery))),
            encode_suspension(suspension, delivery.message_id),
            None if suspension is None or is_resting else _milliseconds(suspension.since),
        )


def _use_wal(connection: sqlite3.Connection) -> None:
    # Asked first: the change, but not the question, needs the file for itself.
    with closing(connection.execute("PRAGMA journal_mode")) as cursor:
        if cursor.fetchone()[0] == "wal":
            return
    connection.execute("PRAGMA journal_mode = WAL").fetchone()


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _version(connection) == len(_MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    version = _version(connection)
    if version > len(_MIGRATIONS):
        connection.execute("ROLLBACK")
        raise StoreError(
            f"the delivery store {path} has schema version {version}, this release knows up to {len(_MIGRATIONS)}; "
            f"upgrade celery-mailproxy"
        )
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # SQLite counts in milliseconds of 32 bits; the comparison refuses NaN as well.
    if not 0 <= seconds <= 86400:
        raise ConfigurationError(f"timeout_seconds must be a number of seconds from 0 to 86400, got {text!r}")
    return seconds
