"""Connections to one SQLite file: shared by the threads of a process, never by two processes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ConnectionPool", "retry_while_locked"]

_MAX_IDLE = 8

# Closing a connection that a fork copied would take its locks and its log from under the parent: such ones are
# kept for good, untouched. A forked worker ends by `os._exit`, which does not touch them either.
_inherited: list[list[sqlite3.Connection]] = []


class ConnectionPool:
    """Lends connections, one to a block at a time, and closes what is idle when it is done or garbage.

    `write_lock` lets the writers of one process queue up instead of polling for SQLite's lock. A pool belongs to the
    process that made it (`is_ours`): after a fork the child makes another.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self.write_lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _close_all, self._idle, self._pid)

    @property
    def is_ours(self) -> bool:
        return self._pid == os.getpid()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for the length of the block. One that failed is closed and not lent again."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
        is_good = False
        try:
            yield connection
            is_good = not connection.in_transaction
        finally:
            self._take_back(connection, is_good=is_good)

    def close(self) -> None:
        """Close what is idle now, and the rest when it comes back."""
        with self._lock:
            self._is_closed = True
        self._finalizer()

    def _take_back(self, connection: sqlite3.Connection, *, is_good: bool) -> None:
        with self._lock:
            if is_good and not self._is_closed and len(self._idle) < _MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()


def _close_all(idle: list[sqlite3.Connection], pid: int) -> None:
    if pid != os.getpid():
        _inherited.append(list(idle))
        return
    while idle:
        idle.pop().close()


def retry_while_locked(run: Callable[[], None], *, timeout_seconds: float) -> None:
    """Run what SQLite does not wait for by itself, again and again until its locks let it or the time is up."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            return run()
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)
