"""The tables of an SQLite store, and the way to them from those of every earlier release."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ....errors import StoreError

__all__ = ["migrate"]

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
    (
        # due_ms: unix milliseconds; begun: the number of the copy that has the turn.
        """CREATE TABLE outbox (
            task_id TEXT NOT NULL PRIMARY KEY,
            content TEXT NOT NULL,
            due_ms INTEGER NOT NULL,
            copies INTEGER NOT NULL,
            begun INTEGER
        )""",
        "CREATE INDEX outbox_due ON outbox (due_ms)",
    ),
    (
        # From when on the silence of a suspended result counts. What stands there now is too early, which does no harm.
        "ALTER TABLE deliveries RENAME COLUMN unresting_ms TO silent_ms",
        # When the claim of a report that is to be dispatched was renewed last.
        "ALTER TABLE deliveries ADD COLUMN undispatched_ms INTEGER",
        """CREATE INDEX deliveries_undispatched ON deliveries (undispatched_ms)
            WHERE undispatched_ms IS NOT NULL""",
    ),
    (
        # When somebody has to look what became of a message at the proxy. Those of an earlier release get theirs with
        # their next change.
        "ALTER TABLE deliveries ADD COLUMN due_ms INTEGER",
        "CREATE INDEX deliveries_due ON deliveries (due_ms) WHERE due_ms IS NOT NULL",
    ),
    (
        # at: as `packing.pack_time` writes it.
        """CREATE TABLE suppressed (
            address TEXT NOT NULL,
            cause TEXT NOT NULL,
            at TEXT NOT NULL,
            message_id TEXT,
            PRIMARY KEY (address, cause)
        ) WITHOUT ROWID""",
    ),
)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file's schema up to date. Raises `StoreError` for one of a later release."""
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
