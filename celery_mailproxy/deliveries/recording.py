"""What registrations and reports make of a delivery: pure functions, shared by every store.

Every report stays in the history, whether it counts or not; see `transitions` for which do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from .delivery import Delivery, HistoryEntry, Status, is_undispatched
from .leaving import begun
from .report import DeliveryReport
from .suspension import Step, advance, end_reported
from .transitions import ONCE, TRANSITIONS

__all__ = [
    "CLAIM_SECONDS",
    "LET_GO_SECONDS",
    "Dispatched",
    "Recorded",
    "Verdict",
    "adopt_orphan",
    "is_anothers_orphan",
    "mark_dispatched",
    "merge_registration",
    "record_report",
]


#: How long a claim holds without being renewed. A run that dispatches renews its claims three times as often, so one
#: that is silent for so long is gone: its process was killed, or its machine stands still.
CLAIM_SECONDS = 15.0

#: Claims that are let go of count as renewed so long ago (see `Recording.hold_seconds`).
LET_GO_SECONDS = -3600.0


class Verdict(str, Enum):
    """What a store makes of one report."""

    NEW = "new"  #: dispatch it: no one has, or this claim began to
    AGAIN = "again"  #: dispatch it: the run that began to is gone, and some of its handlers may have run
    HELD = "held"  #: another run is dispatching it just now: come back later
    DUPLICATE = "duplicate"  #: dispatched already
    STALE = "stale"  #: too late to count; kept in the history, not dispatched
    UNKNOWN = "unknown"  #: no such delivery (yet); nothing was written
    FOREIGN = "foreign"  #: a tenant's report of a message that is not known to be its own; nothing was written
    DAMAGED = "damaged"  #: the delivery's record cannot be read; nothing was written

    @property
    def is_dispatched_here(self) -> bool:
        """Whether the claim that asked has to dispatch the report."""
        return self in (Verdict.NEW, Verdict.AGAIN)

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A store's answer to one report. `delivery` is as it stood after all reports of the same call."""

    report: DeliveryReport
    verdict: Verdict
    delivery: Delivery | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """One report has been dispatched; `failed` names the handlers that raised.

    `is_resumed` where the message of the suspended result has been published for it (see `Step.PUBLISHED`).
    """

    message_id: str
    key: str
    failed: tuple[str, ...] = ()
    is_resumed: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        return {**asdict(self), "failed": list(self.failed)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Dispatched:
        """The inverse of `to_json`."""
        return cls(**{**data, "failed": tuple(data["failed"])})


def record_report(
    delivery: Delivery,
    report: DeliveryReport,
    *,
    claim: str,
    now: datetime,
    claim_seconds: float,
    after: str | None = None,
    hold_seconds: float = 0.0,
    is_settled: bool = False,
    only_new: bool = False,
) -> tuple[Delivery, Verdict]:
    """The delivery after the report, and whether `claim` has to dispatch the report.

    A claim belongs to one run. The same claim may come again: it is renewed. Another claim gets `HELD`, unless the
    first has not been renewed for `claim_seconds` (`AGAIN`), or is `after`: the claim of a run that has ended and left
    its reports to this one. The claim counts as renewed `hold_seconds` from now. With `only_new` a report counts only
    where nothing has been heard of the message yet; else it is `STALE` and leaves no trace.
    """
    if _is_foreign(report.tenant_id, delivery.tenant_id):
        return delivery, Verdict.FOREIGN
    claimed_at = now + timedelta(seconds=hold_seconds)
    for index, entry in enumerate(delivery.history):
        if entry.report.key == report.key:
            verdict = _claim_again(entry, claim=claim, after=after, now=now, claim_seconds=claim_seconds)
            if verdict.is_dispatched_here:
                delivery = _with_entry(delivery, index, replace(entry, claim=claim, claimed_at=claimed_at))
            return delivery, verdict
    if only_new and delivery.status is not Status.NEW:
        return delivery, Verdict.STALE
    status = TRANSITIONS[delivery.status].get(report.kind)
    is_repeated = report.kind in ONCE and any(e.report.kind is report.kind for e in delivery.history)
    if status is None or is_repeated:
        history = (*delivery.history, HistoryEntry(report=report))
        return replace(delivery, history=history, updated_at=now), Verdict.STALE
    entry = HistoryEntry(report=report, claim=claim, claimed_at=claimed_at)
    if is_settled:
        entry = _dispatched(entry)
    history = (*delivery.history, entry)
    return _resumable(replace(delivery, status=status, history=history, updated_at=now), now=now), Verdict.NEW


def _claim_again(entry: HistoryEntry, *, claim: str, after: str | None, now: datetime, claim_seconds: float) -> Verdict:
    if not is_undispatched(entry) or entry.claimed_at is None:
        return Verdict.DUPLICATE
    if entry.claim in (claim, after):
        return Verdict.NEW
    is_silent = (now - entry.claimed_at).total_seconds() > claim_seconds
    return Verdict.AGAIN if is_silent else Verdict.HELD


def mark_dispatched(delivery: Delivery, dispatched: Dispatched, *, now: datetime) -> Delivery:
    """The delivery with that report dispatched. Doing it twice changes nothing but the failed handlers."""
    for index, entry in enumerate(delivery.history):
        if entry.report.key == dispatched.key:
            delivery = _with_entry(delivery, index, _dispatched(entry, failed=dispatched.failed))
            break
    if not dispatched.is_resumed or delivery.suspension is None:
        return delivery
    published = advance(delivery.suspension, Step.PUBLISHED, token=None, now=now, lease_seconds=0.0)
    return replace(delivery, suspension=published or delivery.suspension)


def _dispatched(entry: HistoryEntry, *, failed: tuple[str, ...] = ()) -> HistoryEntry:
    claim = None if entry.is_stale else ""
    return replace(entry, claim=claim, claimed_at=None, is_dispatched=True, failed=failed)


def merge_registration(existing: Delivery | None, registered: Delivery) -> Delivery:
    """What to keep when `registered` arrives and `existing` is there: the first registration wins.

    A run that registers the mail has begun to submit it from then on (see `leaving`).

    Where only reports had been seen so far, the registration completes them. Those of a tenant count only for its own
    message: who guesses an id must not decide what becomes of it. And where `registered` itself is not known, it only
    brings a suspended result for a message that another task registers, before or after.
    """
    if existing is None:
        return registered
    if not registered.is_known and registered.suspension is not None and existing.suspension is None:
        joined = replace(existing, suspension=registered.suspension, task_id=registered.suspension.owner)
        return _resumable(joined, now=registered.updated_at)
    if existing.is_known:
        return begun(existing, registered.run) if existing.status is Status.NEW else existing
    suspension = registered.suspension or existing.suspension
    task_id = suspension.owner if suspension is not None else registered.task_id
    now_leaving = begun(existing, registered.run)
    merged = replace(
        registered,
        suspension=suspension,
        task_id=task_id,
        run=now_leaving.run,
        is_withdrawn=now_leaving.is_withdrawn,
    )
    if not _is_foreign(existing.tenant_id, registered.tenant_id):
        merged = replace(merged, status=existing.status, history=existing.history)
    return _resumable(merged, now=registered.updated_at)


def adopt_orphan(report: DeliveryReport, *, now: datetime) -> Delivery:
    """A delivery for a message that was never registered: it only keeps its reports from being dispatched twice."""
    return Delivery(
        message_id=report.message_id,
        status=Status.QUEUED,
        created_at=now,
        updated_at=now,
        tenant_id=report.tenant_id,
        is_known=False,
    )


def is_anothers_orphan(delivery: Delivery, report: DeliveryReport) -> bool:
    """Whether only another tenant has reported on a message of this id: to this report's tenant it is unknown.

    So nobody keeps a report of others from being dispatched by sending one of the same id first.
    """
    is_orphan = not delivery.is_known and delivery.suspension is None and bool(delivery.tenant_id)
    return is_orphan and _is_foreign(report.tenant_id, delivery.tenant_id)


def _is_foreign(reporter: str | None, owner: str | None) -> bool:
    """Whether a report that came with a tenant's token is none of that tenant's messages: of no tenant's, too."""
    return bool(reporter) and reporter != owner


def _resumable(delivery: Delivery, *, now: datetime) -> Delivery:
    if delivery.suspension is None or not delivery.is_ended:
        return delivery
    return replace(delivery, suspension=end_reported(delivery.suspension, now=now))


def _with_entry(delivery: Delivery, index: int, entry: HistoryEntry) -> Delivery:
    history = (*delivery.history[:index], entry, *delivery.history[index + 1 :])
    return replace(delivery, history=history)
