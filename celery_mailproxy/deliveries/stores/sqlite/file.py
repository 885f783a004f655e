"""`SQLiteFile`: connections to the file of an SQLite store, and transactions on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ....errors import ConfigurationError, StoreError
from .pool import ConnectionPool, retry_while_locked
from .schema import migrate

__all__ = ["SQLiteFile"]

_SYNCHRONOUS = ("full", "normal")


class SQLiteFile:
    """A file with an up-to-date schema, made when it is first used. Shared by threads; a forked process reopens it.

    `timeout_seconds` and `synchronous` as in `SQLiteStore`.
    """

    def __init__(self, path: str | Path, *, timeout_seconds: float, synchronous: str) -> None:
        if synchronous not in _SYNCHRONOUS:
            raise ConfigurationError(f"synchronous must be 'full' or 'normal', got {synchronous!r}")
        # Absolute at once: a process may change its directory later.
        self.path = Path(path).absolute()
        self._timeout_seconds = timeout_seconds
        self._synchronous = synchronous
        self._pool = ConnectionPool(self._connect)

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the length of the block. What SQLite raises in it becomes a `StoreError`."""
        if not self._pool.is_ours:
            self._pool = ConnectionPool(self._connect)
        try:
            with self._pool.connection() as connection:
                yield connection
        except (sqlite3.Error, OSError) as exc:
            raise StoreError(self._explain(exc)) from exc

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The same in a transaction: committed at the end of the block, and undone where it raises."""
        with self.connection() as connection, self._pool.write_lock:
            # IMMEDIATE: a transaction that begins by reading could not wait for another writer later on.
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the connections that no other thread is using; those go when their call is done."""
        pool, self._pool = self._pool, ConnectionPool(self._connect)
        if pool.is_ours:
            pool.close()

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path, timeout=self._timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            retry_while_locked(lambda: _use_wal(connection), timeout_seconds=self._timeout_seconds)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            migrate(connection, self.path)
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


def _use_wal(connection: sqlite3.Connection) -> None:
    # Asked first: the change, but not the question, needs the file for itself.
    with closing(connection.execute("PRAGMA journal_mode")) as cursor:
        if cursor.fetchone()[0] == "wal":
            return
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
