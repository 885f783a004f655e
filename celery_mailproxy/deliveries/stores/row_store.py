"""What stores that have transactions share: load, apply the pure functions, save."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from ...errors import DamagedRecord
from ..delivery import Delivery
from ..erasing import Fate, erase
from ..leaving import taken_back, tombstone, withdrawn
from ..recording import (
    Dispatched,
    Recorded,
    Verdict,
    adopt_orphan,
    is_anothers_orphan,
    mark_dispatched,
    merge_registration,
    record_report,
)
from ..report import DeliveryReport, utcnow
from ..sought_address import SoughtAddress
from ..suspension import Step, advance
from .base import AS_USUAL, Advanced, DeliveryStore, Erased, Kept, Recording, Retention
from .damage import note_damaged
from .erased_pages import in_outbox

__all__ = ["Loaded", "RowStore", "Rows", "page_on", "unique"]

#: How many pages are looked through for records that can be read.
_PAGES = 100


@dataclass(frozen=True, slots=True)
class Loaded:
    """Deliveries by message id; and what is wrong with those records that cannot be read."""

    deliveries: dict[str, Delivery]
    damaged: Mapping[str, str]

    def refuse_damage(self) -> None:
        """Raise `DamagedRecord` where a record cannot be read."""
        if self.damaged:
            raise DamagedRecord(list(self.damaged), "; ".join(dict.fromkeys(self.damaged.values())))


class Rows(Protocol):
    """The deliveries as one open transaction sees them. Nobody else writes to what it has loaded."""

    def load(self, message_ids: Sequence[str]) -> Loaded:
        """The known ones among these deliveries."""

    def save(self, deliveries: Sequence[Delivery]) -> None:
        """Write these deliveries, new or changed."""

    def delete(self, message_ids: Sequence[str]) -> None:
        """Forget these deliveries."""


class RowStore(DeliveryStore):
    """A `DeliveryStore` over transactions: each call of `register`, `record` and `mark_dispatched` is one."""

    def __init__(self, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> None:
        self.retention = retention
        self.clock = clock

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Rows]:
        """A transaction that is committed at the end of the block, and undone where the block raises."""

    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        kept: list[Delivery] = []
        with self._transaction() as rows:
            loaded = rows.load(unique(delivery.message_id for delivery in deliveries))
            loaded.refuse_damage()
            known = loaded.deliveries
            changed: dict[str, Delivery] = {}
            for delivery in deliveries:
                existing = known.get(delivery.message_id)
                merged = merge_registration(existing, delivery)
                if merged is not existing:
                    known[delivery.message_id] = changed[delivery.message_id] = merged
                kept.append(merged)
            rows.save(list(changed.values()))
        return kept

    def withdraw(self, message_ids: Sequence[str]) -> list[Delivery]:
        now = self.clock()
        with self._transaction() as rows:
            loaded = rows.load(unique(message_ids))
            loaded.refuse_damage()
            before = loaded.deliveries
            after = {each: withdrawn(before.get(each) or tombstone(each, now=now)) for each in unique(message_ids)}
            rows.save([each for message_id, each in after.items() if each is not before.get(message_id)])
        return [after[message_id] for message_id in message_ids]

    def take_back(self, message_ids: Sequence[str], run: str) -> None:
        with self._transaction() as rows:
            loaded = rows.load(unique(message_ids))
            pairs = [(each, taken_back(each, run)) for each in loaded.deliveries.values()]
            rows.save([after for before, after in pairs if after is not before])
        self._pass_over(loaded.damaged)

    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        now = self.clock()
        verdicts: list[Verdict] = []
        with self._transaction() as rows:
            loaded = rows.load(unique(report.message_id for report in reports))
            known = loaded.deliveries
            changed: dict[str, Delivery] = {}
            for report in reports:
                before = known.get(report.message_id)
                if report.message_id in loaded.damaged:
                    verdicts.append(Verdict.DAMAGED)
                    continue
                if before is not None and is_anothers_orphan(before, report):
                    before = None
                if before is None and not how.adopt:
                    verdicts.append(Verdict.UNKNOWN)
                    continue
                after, verdict = self._recorded(before or adopt_orphan(report, now=now), report, claim, how, now=now)
                verdicts.append(verdict)
                if after is not before:
                    known[report.message_id] = changed[report.message_id] = after
            rows.save(list(changed.values()))
        self._pass_over(loaded.damaged)
        return [
            Recorded(
                report=report,
                verdict=verdict,
                delivery=None if verdict is Verdict.UNKNOWN else known.get(report.message_id),
            )
            for report, verdict in zip(reports, verdicts, strict=True)
        ]

    def _recorded(
        self, delivery: Delivery, report: DeliveryReport, claim: str, how: Recording, *, now: datetime
    ) -> tuple[Delivery, Verdict]:
        return record_report(
            delivery,
            report,
            claim=claim,
            now=now,
            claim_seconds=self.retention.claim_seconds,
            after=how.after,
            hold_seconds=how.hold_seconds,
            is_settled=how.is_settled,
            only_new=how.only_new,
        )

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        with self._transaction() as rows:
            moved = self._advanced(_one(rows, message_id), step, token=token)
            if moved.is_allowed and moved.delivery is not None:
                rows.save([moved.delivery])
        return moved

    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        with self._transaction() as rows:
            before = _one(rows, report.message_id)
            if before is None:
                return Advanced(is_allowed=False, delivery=None)
            recorded, _ = self._recorded(before, report, claim, Recording(is_settled=True), now=self.clock())
            moved = self._advanced(recorded, Step.SUBMITTED, token=claim)
            if moved.delivery is not None and moved.delivery is not before:
                rows.save([moved.delivery])
        return moved

    def _advanced(self, delivery: Delivery | None, step: Step, *, token: str | None) -> Advanced:
        if delivery is None or delivery.suspension is None:
            return Advanced(is_allowed=False, delivery=delivery)
        moved = advance(
            delivery.suspension, step, token=token, now=self.clock(), lease_seconds=self.retention.lease_seconds
        )
        if moved is None:
            return Advanced(is_allowed=False, delivery=delivery)
        return Advanced(is_allowed=True, delivery=replace(delivery, suspension=moved))

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        now = self.clock()
        with self._transaction() as rows:
            loaded = rows.load(unique(each.message_id for each in dispatched))
            known = loaded.deliveries
            for each in dispatched:
                if (delivery := known.get(each.message_id)) is not None:
                    known[each.message_id] = mark_dispatched(delivery, each, now=now)
            rows.save(list(known.values()))
        self._pass_over(loaded.damaged)

    def pages(self) -> Iterator[Sequence[Delivery]]:
        for message_ids in self._id_pages():
            yield [each for each in self.get_many(message_ids) if each is not None]

    def erase(self, sought: SoughtAddress, *, is_dry_run: bool = False) -> Iterator[Erased]:
        for message_ids in self._id_pages():
            yield self._erase_page(message_ids, sought, is_dry_run=is_dry_run)
        yield from in_outbox(self.outbox, sought)

    @abstractmethod
    def _id_pages(self) -> Iterator[Sequence[str]]:
        """The ids of all deliveries, `PAGE` at a time."""

    def _erase_page(self, message_ids: Sequence[str], sought: SoughtAddress, *, is_dry_run: bool) -> Erased:
        with self._transaction() as rows:
            loaded = rows.load(message_ids)
            fates = [(*erase(delivery, sought), delivery) for delivery in loaded.deliveries.values()]
            changed = [erased for fate, erased, _ in fates if fate is Fate.ERASED]
            deleted = [each.message_id for fate, _, each in fates if fate is Fate.DELETED]
            if not is_dry_run:
                rows.save(changed)
                rows.delete(deleted)
        kept = [
            Kept(kind="delivery", id=each.message_id, status=each.status.value)
            for fate, _, each in fates
            if fate is Fate.OPEN
        ]
        return Erased(
            looked_at=len(message_ids),
            changed=tuple(each.message_id for each in changed),
            deleted=tuple(deleted),
            kept=(*kept, *(Kept(kind="damaged", id=each) for each in loaded.damaged)),
        )

    def _pass_over(self, damaged: Mapping[str, str]) -> None:
        if damaged:
            note_damaged(self, damaged)


def _one(rows: Rows, message_id: str) -> Delivery | None:
    loaded = rows.load([message_id])
    loaded.refuse_damage()
    return loaded.deliveries.get(message_id)


def page_on(read: Callable[[int], tuple[int, Iterable[Delivery]]], limit: int) -> list[Delivery]:
    """Up to `limit` deliveries. Records that cannot be read do not count, so it may take more than one page.

    `read(start)` answers how many rows there are from there on, `limit` at most, and their deliveries.
    """
    found: dict[str, Delivery] = {}
    start = 0
    for _ in range(_PAGES):
        number, deliveries = read(start)
        found.update((each.message_id, each) for each in deliveries)
        start += number
        if number < limit or len(found) >= limit:
            break
    return list(found.values())[:limit]


def unique(message_ids: Iterable[str]) -> list[str]:
    """The ids without repetitions, in the order of their first appearance."""
    return list(dict.fromkeys(message_ids))
