"""A file to which other processes append JSON, a line for each event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["JsonLines"]


class JsonLines:
    """The events of the file so far; each line is read once. There need be no file yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0
        self._events: list[dict[str, Any]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                # What is being written has no end yet.
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._read_to += len(whole) + 1
                self._events += map(json.loads, whole.split(b"\n"))
        return self._events
