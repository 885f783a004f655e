"""Deliveries in this process's memory: for tests, and for trying things out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..delivery import Delivery, failed_entries, undispatched_since
from ..report import utcnow
from ..suspension import silent_since
from .base import COUNTS_KEPT, Retention, count_span
from .codec import decode_delivery, encode_delivery, encode_suspension
from .erased_pages import PAGE
from .memory_suppression import MemorySuppression
from .outbox import Outbox, OutboxEntry, Turn
from .row_store import Loaded, Rows, RowStore

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Shelf:
    """The deliveries under one name, and the lock that makes a call on them one step."""

    deliveries: dict[str, Delivery] = field(default_factory=dict)
    put_off: dict[str, datetime] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    outbox: dict[str, OutboxEntry] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    suppression: MemorySuppression = field(default_factory=MemorySuppression)
    lock: threading.RLock = field(default_factory=threading.RLock)


_SHELVES: dict[str, _Shelf] = {}


class MemoryStore(RowStore):
    """A store that ends with its process.

    Stores of one `name` share their deliveries, like a receiver and a worker thread of one process; without a name a
    store is alone. Deliveries are kept as they would come back from a real store: what JSON cannot express is refused.
    """

    def __init__(
        self, retention: Retention, *, clock: Callable[[], datetime] = utcnow, name: str | None = None
    ) -> None:
        super().__init__(retention, clock=clock)
        self._name = name
        self._shelf = _Shelf() if name is None else _SHELVES.setdefault(name, _Shelf())
        self.suppression = self._shelf.suppression

    @classmethod
    def from_url(cls, url: str, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> MemoryStore:
        """`memory://name`; without a name they share, too."""
        return cls(retention, clock=clock, name=url.partition("://")[2])

    def __repr__(self) -> str:
        return f"MemoryStore(name={self._name!r})"

    @property
    def outbox(self) -> Outbox:
        return _MemoryOutbox(self._shelf)

    @contextmanager
    def _transaction(self) -> Iterator[Rows]:
        with self._shelf.lock:
            yield _MemoryRows(self._shelf)

    def get(self, message_id: str) -> Delivery | None:
        return self._shelf.deliveries.get(message_id)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        return [self._shelf.deliveries.get(message_id) for message_id in message_ids]

    def undispatched(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        return self._since(undispatched_since, before=before, limit=limit)

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        return self._since(lambda delivery: silent_since(delivery.suspension), before=before, limit=limit)

    def due(self, *, now: datetime, limit: int = 100) -> list[Delivery]:
        return self._since(self._due_at, before=now, limit=limit)

    def _due_at(self, delivery: Delivery) -> datetime | None:
        due_at = self.retention.due_at(delivery)
        return None if due_at is None else self._shelf.put_off.get(delivery.message_id, due_at)

    def put_off(self, message_ids: Sequence[str], *, until: datetime) -> None:
        with self._shelf.lock:
            found = [each for each in self.get_many(message_ids) if each is not None]
            awaited = [each.message_id for each in found if self.retention.due_at(each) is not None]
            self._shelf.put_off.update(dict.fromkeys(awaited, until))

    def _since(
        self, moment_of: Callable[[Delivery], datetime | None], *, before: datetime, limit: int
    ) -> list[Delivery]:
        """The deliveries with such a moment before this one, the earliest first."""
        with self._shelf.lock:
            found = [(moment, each) for each in self._shelf.deliveries.values() if (moment := moment_of(each))]
        earlier = sorted((pair for pair in found if pair[0] < before), key=lambda pair: pair[0])
        return [each for _, each in earlier[:limit]]

    def failed(self, *, limit: int = 100) -> list[str]:
        with self._shelf.lock:
            failing = [d.message_id for d in self._shelf.deliveries.values() if any(failed_entries(d))]
        return failing[:limit]

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        moment = now or self.clock()
        with self._shelf.lock:
            kept = self._shelf.deliveries
            expired = [key for key, d in kept.items() if self.retention.expires_at(d) <= moment][:limit]
            _MemoryRows(self._shelf).delete(expired)
            for span in [each for each in self._shelf.counts if each < count_span(moment - COUNTS_KEPT)]:
                del self._shelf.counts[span]
        return len(expired)

    def _id_pages(self) -> Iterator[Sequence[str]]:
        yield from _pages(self._shelf.deliveries)

    def get_value(self, name: str) -> str | None:
        return self._shelf.values.get(name)

    def set_value(self, name: str, value: str | None) -> None:
        with self._shelf.lock:
            self._shelf.values.pop(name, None)
            if value is not None:
                self._shelf.values[name] = value

    def swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        with self._shelf.lock:
            is_same = self._shelf.values.get(name) == before
            if is_same:
                self.set_value(name, after)
        return is_same

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        with self._shelf.lock:
            self._shelf.counts.setdefault(count_span(at), Counter()).update(numbers)

    def counts(self, *, since: datetime) -> dict[str, int]:
        total: Counter[str] = Counter()
        with self._shelf.lock:
            for span, numbers in self._shelf.counts.items():
                if span >= count_span(since):
                    total.update(numbers)
        return dict(total)

    def check(self) -> str:
        return f"memory of this process, {len(self._shelf.deliveries)} deliveries"

    def close(self) -> None:
        """Nothing to let go of: the deliveries stay until the process ends or `clear` is called."""

    def clear(self) -> None:
        """Forget all that is kept under this name: for tests."""
        with self._shelf.lock:
            self._shelf.deliveries.clear()
            self._shelf.put_off.clear()
            self._shelf.values.clear()
            self._shelf.counts.clear()
            self._shelf.outbox.clear()
            self._shelf.turns.clear()
            self._shelf.suppression.clear()


def _pages(mapping: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    keys = list(mapping)
    return (keys[start : start + PAGE] for start in range(0, len(keys), PAGE))


def _copy(delivery: Delivery) -> Delivery:
    suspension = encode_suspension(delivery.suspension, delivery.message_id)
    return decode_delivery(delivery.message_id, *encode_delivery(delivery), suspension)


@dataclass(frozen=True, slots=True)
class _MemoryRows:
    shelf: _Shelf

    def load(self, message_ids: Sequence[str]) -> Loaded:
        kept = self.shelf.deliveries
        return Loaded({key: kept[key] for key in message_ids if key in kept}, {})

    def save(self, deliveries: Sequence[Delivery]) -> None:
        # Written only when all are known to be good, as a transaction would.
        copies = {d.message_id: _copy(d) for d in deliveries}
        self.shelf.deliveries.update(copies)
        self._forget_delay(copies)

    def delete(self, message_ids: Sequence[str]) -> None:
        for message_id in message_ids:
            self.shelf.deliveries.pop(message_id, None)
        self._forget_delay(message_ids)

    def _forget_delay(self, message_ids: Iterable[str]) -> None:
        for message_id in message_ids:
            self.shelf.put_off.pop(message_id, None)


class _MemoryOutbox(Outbox):
    def __init__(self, shelf: _Shelf) -> None:
        self._shelf = shelf

    def put(self, entries: Sequence[OutboxEntry]) -> None:
        with self._shelf.lock:
            for entry in entries:
                self._shelf.outbox.setdefault(entry.task_id, entry)

    def due(self, *, now: datetime, limit: int) -> list[OutboxEntry]:
        with self._shelf.lock:
            due = [entry for entry in self._shelf.outbox.values() if entry.due_at <= now]
        return sorted(due, key=lambda entry: entry.due_at)[:limit]

    def republish(self, entry: OutboxEntry, *, due_at: datetime) -> OutboxEntry | None:
        after = replace(entry, copies=entry.copies + 1, due_at=due_at)
        with self._shelf.lock:
            if not self._is_as_read(entry):
                return None
            self._shelf.outbox[entry.task_id] = after
            self._shelf.turns.pop(entry.task_id, None)
        return after

    def begin(self, task_id: str, copy: int, *, due_at: datetime) -> Turn:
        with self._shelf.lock:
            if (entry := self._shelf.outbox.get(task_id)) is None:
                return Turn.GONE
            if self._shelf.turns.setdefault(task_id, copy) != copy:
                return Turn.OTHERS
            self._shelf.outbox[task_id] = replace(entry, due_at=due_at)
            return Turn.MINE

    def reschedule(self, entries: Sequence[OutboxEntry], *, due_at: datetime) -> None:
        with self._shelf.lock:
            for entry in filter(self._is_as_read, entries):
                self._shelf.outbox[entry.task_id] = replace(entry, due_at=due_at)

    def _is_as_read(self, entry: OutboxEntry) -> bool:
        # Whoever begins with it, or publishes it, gives it another moment.
        return self._shelf.outbox.get(entry.task_id) == entry

    def drop(self, task_ids: Sequence[str]) -> None:
        with self._shelf.lock:
            for task_id in task_ids:
                self._shelf.outbox.pop(task_id, None)
                self._shelf.turns.pop(task_id, None)

    def find(self, task_id: str) -> OutboxEntry | None:
        return self._shelf.outbox.get(task_id)

    def pages(self) -> Iterator[Sequence[OutboxEntry]]:
        for task_ids in _pages(self._shelf.outbox):
            yield [entry for task_id in task_ids if (entry := self._shelf.outbox.get(task_id)) is not None]

    def overdue(self, *, now: datetime) -> int:
        with self._shelf.lock:
            return sum(entry.due_at <= now for entry in self._shelf.outbox.values())
