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

__all__ = ["Event", "Ledger"]

Event = dict[str, Any]


class Ledger:
    """Appends events to a file. Any number of processes and threads may write to one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, what: str, **fields: Any) -> None:
        event = {"what": what, "time": time.time(), "pid": os.getpid(), **fields}
        with self.path.open("ab", buffering=0) as file:
            file.write(json.dumps(event).encode() + b"\n")
