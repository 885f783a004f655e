"""`MemorySuppression`: the suppression list in this process's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..suppression import Cause, SuppressedAddress
from .erased_pages import PAGE
from .suppression import SuppressionList

__all__ = ["MemorySuppression"]


@dataclass(slots=True)
class MemorySuppression(SuppressionList):
    """The list under one name, shared by the stores of that name."""

    _entries: dict[tuple[str, Cause], SuppressedAddress] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, entries: Sequence[SuppressedAddress]) -> int:
        with self._lock:
            before = len(self._entries)
            for entry in entries:
                self._entries.setdefault((entry.address, entry.cause), entry)
            return len(self._entries) - before

    def find(self, addresses: Sequence[str]) -> list[SuppressedAddress]:
        keys = [(address, cause) for address in dict.fromkeys(addresses) for cause in Cause]
        with self._lock:
            return [self._entries[key] for key in keys if key in self._entries]

    def remove(self, addresses: Sequence[str]) -> int:
        gone = frozenset(addresses)
        with self._lock:
            before = len(self._entries)
            self._entries = {key: entry for key, entry in self._entries.items() if key[0] not in gone}
            return before - len(self._entries)

    def pages(self) -> Iterator[Sequence[SuppressedAddress]]:
        with self._lock:
            entries = list(self._entries.values())
        return (entries[start : start + PAGE] for start in range(0, len(entries), PAGE))

    def clear(self) -> None:
        """Forget all: for tests."""
        with self._lock:
            self._entries.clear()
