"""The log's database connection: whose it is, its transactions, and what its errors mean."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connections, transaction
from django.db.models import Model

from ...errors import StoreError, redact

__all__ = ["explain", "is_lost", "is_transient", "note_use", "own_connection", "unix_seconds", "writing"]

# SQLSTATE of PostgreSQL: serialization failure, deadlock, unique violation (two begin one row).
_TRANSIENT_STATES = frozenset({"40001", "40P01", "23505"})
# Error numbers of MySQL and MariaDB: record changed since the snapshot, duplicate key, lock wait time-out, deadlock.
_TRANSIENT_NUMBERS = frozenset({1020, 1062, 1205, 1213})

_READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"

# Whatever its time zone is.
_TIME_QUERIES = {
    "postgresql": "SELECT EXTRACT(EPOCH FROM CLOCK_TIMESTAMP())",
    "mysql": "SELECT UNIX_TIMESTAMP(NOW(6))",
}

# Closing a connection that a fork copied would end it for the parent, too: such ones are kept for good, untouched.
_inherited: list[Any] = []


def own_connection(alias: str) -> Any:
    """This thread's connection, which is no other process's, and is closed when the thread ends."""
    connection = connections[alias]
    used = _used_in_thread.by_alias.get(alias)
    if used is not None and used.is_inherited(connection):
        _inherited.append(connection.connection)
        connection.connection = None
    if used is None or used.wrapper is not connection or used.pid != os.getpid():
        used = _used_in_thread.by_alias[alias] = _Used(connection)
    used.raw = connection.connection
    return connection


def note_use(alias: str) -> None:
    """Remember the raw connection that this thread has used just now: a fork may come next."""
    if (used := _used_in_thread.by_alias.get(alias)) is not None:
        used.raw = used.wrapper.connection


class _Used:
    """A connection as a thread has used it last."""

    def __init__(self, wrapper: Any) -> None:
        self.wrapper = wrapper
        self.raw: Any = None
        self.pid = os.getpid()

    def is_inherited(self, connection: Any) -> bool:
        return self.pid != os.getpid() and self.raw is not None and connection.connection is self.raw


class _UsedInThread(threading.local):
    """What ends with its thread. Django closes connections at the end of a request only: other threads leak them."""

    def __init__(self) -> None:
        self.by_alias: dict[str, _Used] = _ClosedAtEnd()


class _ClosedAtEnd(dict[str, _Used]):
    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.current_thread()

    def __del__(self) -> None:
        # The main thread's connections are everybody's.
        if self._thread is not threading.main_thread():
            for used in self.values():
                if used.pid == os.getpid():
                    used.wrapper.close()
                else:
                    _inherited.append(used.raw)


_used_in_thread = _UsedInThread()


@contextmanager
def writing(model: type[Model], alias: str) -> Iterator[Any]:
    """A transaction, or a savepoint in the caller's, whose statements see what others have committed before each.

    `model` is one whose table it writes.
    """
    connection = own_connection(alias)
    is_ours = not connection.in_atomic_block
    # The level is known once there is a connection.
    connection.ensure_connection()
    # Under another level others' changes would be errors, and rows that are not there would be locked in MySQL.
    is_other_level = is_ours and not _is_read_committed(connection)
    if is_other_level and connection.vendor == "mysql":
        # For the next transaction, where PostgreSQL's is for the one that has begun.
        _execute(connection, _READ_COMMITTED)
    with transaction.atomic(using=alias):
        if is_other_level and connection.vendor == "postgresql":
            _execute(connection, _READ_COMMITTED)
        if connection.vendor == "sqlite":
            # A transaction that begins by reading could not wait for another writer later on.
            model._base_manager.using(alias).filter(pk=0).update(id=0)
        yield connection


def _is_read_committed(connection: Any) -> bool:
    level = getattr(connection, "isolation_level", None)
    # A text in MySQL's backend, a member of an enumeration in PostgreSQL's.
    return str(getattr(level, "name", level)).lower().replace("_", " ") == "read committed"


def _execute(connection: Any, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def unix_seconds(connection: Any) -> float | None:
    """What time it is by the database server's clock; None where it has none of its own, or is not known to us."""
    query = _TIME_QUERIES.get(connection.vendor)
    if query is None:
        return None
    with connection.cursor() as cursor:
        cursor.execute(query)
        return float(cursor.fetchone()[0])


def is_transient(error: Error, connection: Any) -> bool:
    """Whether the same transaction, tried again as a whole, may well succeed: two were in each other's way."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    number = error.args[0] if error.args and connection.vendor == "mysql" else None
    is_locked = connection.vendor == "sqlite" and ("locked" in str(error) or "UNIQUE" in str(error))
    return state in _TRANSIENT_STATES or number in _TRANSIENT_NUMBERS or is_locked


def is_lost(connection: Any, raw: Any) -> bool:
    """Whether the raw connection `raw` has ended, after a statement has failed on it."""
    # Django may have opened another one at the end of the transaction.
    return raw is None or connection.connection is not raw or not connection.is_usable()


def explain(error: Error, alias: str) -> StoreError:
    """The error as the callers of a store know it: what happened, but not the rows that it happened to."""
    lines = " ".join(str(part) for part in error.args).splitlines()
    problem = f"{type(error).__name__}: {redact(lines[0])}" if lines else type(error).__name__
    return StoreError(
        f"the delivery log in Django's database {alias!r} failed ({problem}); see that the database is up and that "
        f"manage.py migrate has been run"
    )
