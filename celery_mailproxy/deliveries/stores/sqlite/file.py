"""`SQLiteFile`: connections to the file of an SQLite store, and transactions on them."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ....errors import ConfigurationError, StoreError
from .pool import ConnectionPool, retry_while_locked
from .schema import migrate

__all__ = ["SQLiteFile", "is_public"]

logger = logging.getLogger(__name__)

_SYNCHRONOUS = ("full", "normal")


class SQLiteFile:
    """A file with an up-to-date schema, made when it is first used. Shared by threads; a forked process reopens it.

    It holds reasons and the arguments of callbacks, so it is made readable by its owner alone. One that is removed or
    replaced under way is opened anew: a file without a name would be written on, and be gone with the process.

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
        #: Device and inode of the file that the pool's connections are on; None before the first.
        self._identity: tuple[int, int] | None = None

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the length of the block. What SQLite raises in it becomes a `StoreError`."""
        if not self._pool.is_ours:
            self._pool = ConnectionPool(self._connect)
        elif self._is_replaced():
            logger.error(
                "the delivery store %s was removed or replaced while it was in use; what it held is gone. It is opened "
                "anew",
                self.path,
            )
            self.close()
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
            if self._is_replaced():
                raise StoreError(f"the delivery store {self.path} was removed while it was written; try again")

    def close(self) -> None:
        """Close the connections that no other thread is using; those go when their call is done."""
        pool, self._pool = self._pool, ConnectionPool(self._connect)
        self._identity = None
        if pool.is_ours:
            pool.close()

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _make_private(self.path)
        connection = sqlite3.connect(
            self.path, timeout=self._timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            retry_while_locked(lambda: _use_wal(connection), timeout_seconds=self._timeout_seconds)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            migrate(connection, self.path)
            self._identity = _identity(self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_replaced(self) -> bool:
        # Read once: another thread may close the store meanwhile.
        known = self._identity
        return known is not None and _identity(self.path) != known

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


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _make_private(path: Path) -> None:
    """Make the file for its owner alone; SQLite gives its log beside it the same mode.

    One that is there keeps its mode: a group may share it on purpose. That others can read it is said.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if is_public(path) and path not in _warned:
            _warned.add(path)
            logger.warning("the delivery store %s can be read by every user of this machine: chmod o= %s*", path, path)


def is_public(path: Path) -> bool:
    """Whether every user of the machine can read the file."""
    return os.name == "posix" and bool(path.stat().st_mode & stat.S_IROTH)


#: Files that have been warned of in this process.
_warned: set[Path] = set()


def _use_wal(connection: sqlite3.Connection) -> None:
    # Asked first: the change, but not the question, needs the file for itself.
    with closing(connection.execute("PRAGMA journal_mode")) as cursor:
        if cursor.fetchone()[0] == "wal":
            return
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
