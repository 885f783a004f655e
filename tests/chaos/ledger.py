"""The ledger: what each process saw, one JSON line for each event, appended so that no `kill -9` loses one.

A line is written by one `write` to a file opened for appending: it is whole, whoever else writes, and safe in the
system's memory once `note` returns. Every event has `what`, `time` (unix seconds) and `pid`.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

__all__ = ["Event", "Ledger", "LedgerReader"]

Event = dict[str, Any]


class Ledger:
    """Appends events to a file. Any number of processes and threads may write to one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, what: str, **fields: Any) -> None:
        event = {"what": what, "time": time.time(), "pid": os.getpid(), **fields}
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")


class LedgerReader:
    """The events of a ledger so far; each line is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_to = 0
        self._events: list[Event] = []

    @property
    def events(self) -> list[Event]:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._read_to += len(whole) + 1
                self._events += map(json.loads, whole.split(b"\n"))
        return self._events
