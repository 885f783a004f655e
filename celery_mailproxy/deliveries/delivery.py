"""What we remember of one message, and how a report changes it: pure functions, shared by every store.

    new → queued → deferred* → sent | error        and after sent: bounced
    new → rejected

A late `deferred` never undoes an end; a bounce after sent is legal; every report stays in the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Any

from .report import DeliveryReport, Kind
from .suspension import Step, Suspension, advance, end_reported

__all__ = [
    "ONCE",
    "TRANSITIONS",
    "Delivery",
    "Dispatched",
    "HistoryEntry",
    "Recorded",
    "Status",
    "Verdict",
    "adopt_orphan",
    "failed_entries",
    "mark_dispatched",
    "merge_registration",
    "record_report",
]


class Status(str, Enum):
    """How far a message has come."""

    NEW = "new"  #: registered; the proxy has not confirmed that it has it
    QUEUED = "queued"  #: the proxy has it
    DEFERRED = "deferred"  #: the proxy tried, and will try again
    SENT = "sent"  #: an SMTP server took it
    ERROR = "error"  #: given up
    BOUNCED = "bounced"  #: taken, then returned
    REJECTED = "rejected"  #: the proxy never took it

    def __str__(self) -> str:
        return self.value

    @property
    def is_end(self) -> bool:
        """True where nothing more is awaited (a bounce may still follow `sent`)."""
        return self in _ENDS


_ENDS = frozenset({Status.SENT, Status.ERROR, Status.BOUNCED, Status.REJECTED})


class Verdict(str, Enum):
    """What a store makes of one report."""

    NEW = "new"  #: dispatch it: nobody has, or this claim began to
    DUPLICATE = "duplicate"  #: known already, dispatched or being dispatched by another claim
    STALE = "stale"  #: too late to count; kept in the history, not dispatched
    UNKNOWN = "unknown"  #: no such delivery (yet); nothing was written
    FOREIGN = "foreign"  #: another tenant's message; nothing was written

    def __str__(self) -> str:
        return self.value


def _transitions() -> dict[Status, dict[Kind, Status]]:
    open_ends = {
        Kind.DEFERRED: Status.DEFERRED,
        Kind.SENT: Status.SENT,
        Kind.ERROR: Status.ERROR,
        Kind.BOUNCED: Status.BOUNCED,
    }
    return {
        Status.NEW: {
            **open_ends,
            Kind.QUEUED: Status.QUEUED,
            Kind.REJECTED: Status.REJECTED,
            Kind.PEC: Status.NEW,
        },
        # A report can overtake the answer to the submission: `queued` is then still news, but changes nothing.
        # In QUEUED itself it is news after `adopt_orphan` only; else its key is in the history.
        Status.QUEUED: {**open_ends, Kind.QUEUED: Status.QUEUED, Kind.PEC: Status.QUEUED},
        Status.DEFERRED: {**open_ends, Kind.QUEUED: Status.DEFERRED, Kind.PEC: Status.DEFERRED},
        Status.SENT: {Kind.QUEUED: Status.SENT, Kind.BOUNCED: Status.BOUNCED, Kind.PEC: Status.SENT},
        Status.ERROR: {Kind.QUEUED: Status.ERROR, Kind.PEC: Status.ERROR},
        # A bounce that overtook its own `sent`; and a mail to many can bounce many times.
        Status.BOUNCED: {
            Kind.QUEUED: Status.BOUNCED,
            Kind.SENT: Status.BOUNCED,
            Kind.BOUNCED: Status.BOUNCED,
            Kind.PEC: Status.BOUNCED,
        },
        Status.REJECTED: {},
    }


#: status → kind → next status. A kind that is missing is stale in that status.
TRANSITIONS: Mapping[Status, Mapping[Kind, Status]] = _transitions()

#: Kinds that are news only once for a message, whatever their time.
ONCE: frozenset[Kind] = frozenset({Kind.SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A report in a delivery's history.

    `claim` is the id of the dispatch task that took it (None: stale, nobody will), `claimed_at` since when; once the
    report has been told they are "" and None, for nobody asks any more. `failed` names the handlers that raised: they
    can be run again (see `dispatch.replay`).
    """

    report: DeliveryReport
    claim: str | None = None
    claimed_at: datetime | None = None
    is_dispatched: bool = False
    failed: tuple[str, ...] = ()

    @property
    def is_stale(self) -> bool:
        return self.claim is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What we remember of one message. Never its body.

    `callbacks` maps `sent`, `error`, `deferred` and `bounced` to serialised Celery signatures. `summary` is a small
    dict for people (subject, number of recipients). `is_known` is False where only reports have been seen: the
    message was submitted by another application, or its record has expired.

    `members` are the recipients of a mail that went to each of them as a message of its own (`per_recipient`): this
    delivery is then their parent, which is no message itself. `parent_id` is what such a message belongs to.
    """

    message_id: str
    status: Status = Status.NEW
    created_at: datetime
    updated_at: datetime
    history: tuple[HistoryEntry, ...] = ()
    callbacks: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict, repr=False)
    task_id: str | None = None
    tenant_id: str | None = None
    account_id: str | None = None
    server: str = "default"
    batch_code: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_known: bool = True
    suspension: Suspension | None = None
    members: tuple[str, ...] = field(default=(), repr=False)
    parent_id: str | None = None

    @property
    def member_ids(self) -> tuple[str, ...]:
        """The message id of each member, in their order."""
        return tuple(f"{self.message_id}-{index}" for index in range(len(self.members)))

    @property
    def ids_by_member(self) -> dict[str, str]:
        """Each member's message id, by its recipient's address."""
        return dict(zip(self.members, self.member_ids, strict=True))

    @property
    def is_ended(self) -> bool:
        return self.status.is_end

    @property
    def reason(self) -> str | None:
        """Why the delivery is where it is: the newest reason among the reports that counted."""
        return next((e.report.reason for e in reversed(self.history) if not e.is_stale and e.report.reason), None)

    @property
    def queued_at(self) -> datetime | None:
        return self._time_of(Kind.QUEUED)

    @property
    def sent_at(self) -> datetime | None:
        return self._time_of(Kind.SENT)

    @property
    def ended_at(self) -> datetime | None:
        """When the status became final; None while it is not."""
        if not self.is_ended:
            return None
        return self._time_of(Kind(self.status.value))

    @property
    def outcome(self) -> DeliveryReport | None:
        """The report that ended the message; None while it has not ended."""
        ends = (entry.report for entry in self.history if not entry.is_stale and _is_end(entry.report.kind))
        return next(ends, None)

    @property
    def attempts(self) -> int:
        """How often the proxy has tried, as far as it has told."""
        tries = (Kind.DEFERRED, Kind.SENT, Kind.ERROR)
        return sum(not entry.is_stale and entry.report.kind in tries for entry in self.history)

    def _time_of(self, kind: Kind) -> datetime | None:
        return next((e.report.at for e in self.history if e.report.kind is kind and not e.is_stale), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A store's answer to one report. `delivery` is as it stood after all reports of the same call."""

    report: DeliveryReport
    verdict: Verdict
    delivery: Delivery | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """The news of one report has been told; `failed` names the handlers that raised.

    `is_resumed` where the message of the suspended result has been published for it (see `Step.PUBLISHED`).
    """

    message_id: str
    key: str
    failed: tuple[str, ...] = ()
    is_resumed: bool = False


def _is_end(kind: Kind) -> bool:
    return kind.value in {status.value for status in _ENDS}


def record_report(
    delivery: Delivery,
    report: DeliveryReport,
    *,
    claim: str,
    now: datetime,
    lease_seconds: float,
    is_settled: bool = False,
    only_new: bool = False,
) -> tuple[Delivery, Verdict]:
    """The delivery after the report, and whether the report is to be dispatched by `claim`.

    The same claim may come again (its worker died, the broker redelivered): it goes on. Another claim gets
    `DUPLICATE`, unless the first has neither finished nor been seen for `lease_seconds`. With `only_new` a report
    counts only where nothing has been heard of the message yet; else it is `STALE` and leaves no trace.
    """
    if report.tenant_id and delivery.tenant_id and report.tenant_id != delivery.tenant_id:
        return delivery, Verdict.FOREIGN
    for index, entry in enumerate(delivery.history):
        if entry.report.key == report.key:
            return _claim_again(delivery, index, claim=claim, now=now, lease_seconds=lease_seconds)
    if only_new and delivery.status is not Status.NEW:
        return delivery, Verdict.STALE
    status = TRANSITIONS[delivery.status].get(report.kind)
    is_repeated = report.kind in ONCE and any(e.report.kind is report.kind for e in delivery.history)
    if status is None or is_repeated:
        history = (*delivery.history, HistoryEntry(report=report))
        return replace(delivery, history=history, updated_at=now), Verdict.STALE
    entry = HistoryEntry(report=report, claim=claim, claimed_at=now)
    if is_settled:
        entry = _told(entry)
    history = (*delivery.history, entry)
    return _resumable(replace(delivery, status=status, history=history, updated_at=now), now=now), Verdict.NEW


def _claim_again(
    delivery: Delivery, index: int, *, claim: str, now: datetime, lease_seconds: float
) -> tuple[Delivery, Verdict]:
    entry = delivery.history[index]
    if entry.is_stale or entry.is_dispatched or entry.claimed_at is None:
        return delivery, Verdict.DUPLICATE
    if entry.claim == claim:
        return delivery, Verdict.NEW
    if (now - entry.claimed_at).total_seconds() <= lease_seconds:
        return delivery, Verdict.DUPLICATE
    return _with_entry(delivery, index, replace(entry, claim=claim, claimed_at=now)), Verdict.NEW


def mark_dispatched(delivery: Delivery, dispatched: Dispatched, *, now: datetime) -> Delivery:
    """The delivery with that report told. Telling it twice changes nothing but the failed handlers."""
    for index, entry in enumerate(delivery.history):
        if entry.report.key == dispatched.key:
            delivery = _with_entry(delivery, index, _told(entry, failed=dispatched.failed))
            break
    if not dispatched.is_resumed or delivery.suspension is None:
        return delivery
    published = advance(delivery.suspension, Step.PUBLISHED, token=None, now=now, lease_seconds=0.0)
    return replace(delivery, suspension=published or delivery.suspension)


def _told(entry: HistoryEntry, *, failed: tuple[str, ...] = ()) -> HistoryEntry:
    claim = None if entry.is_stale else ""
    return replace(entry, claim=claim, claimed_at=None, is_dispatched=True, failed=failed)


def merge_registration(existing: Delivery | None, registered: Delivery) -> Delivery:
    """What to keep when `registered` arrives and `existing` is there: the first registration wins.

    Where only reports had been seen so far, the registration completes them. Another tenant's reports do not count:
    who guesses an id must not decide what becomes of its message. And where `registered` itself is not known, it only
    brings a suspended result for a message that another task registers, before or after.
    """
    if existing is None:
        return registered
    if not registered.is_known and registered.suspension is not None and existing.suspension is None:
        joined = replace(existing, suspension=registered.suspension, task_id=registered.suspension.owner)
        return _resumable(joined, now=registered.updated_at)
    if existing.is_known:
        return existing
    suspension = registered.suspension or existing.suspension
    task_id = suspension.owner if suspension is not None else registered.task_id
    merged = replace(registered, suspension=suspension, task_id=task_id)
    if not (existing.tenant_id and registered.tenant_id and existing.tenant_id != registered.tenant_id):
        merged = replace(merged, status=existing.status, history=existing.history)
    return _resumable(merged, now=registered.updated_at)


def adopt_orphan(report: DeliveryReport, *, now: datetime) -> Delivery:
    """A delivery for a message that nobody registered: it only keeps its reports from being told twice."""
    return Delivery(
        message_id=report.message_id,
        status=Status.QUEUED,
        created_at=now,
        updated_at=now,
        tenant_id=report.tenant_id,
        is_known=False,
    )


def failed_entries(delivery: Delivery) -> Iterator[HistoryEntry]:
    """The history entries with handlers to run again."""
    return (entry for entry in delivery.history if entry.failed)


def _resumable(delivery: Delivery, *, now: datetime) -> Delivery:
    if delivery.suspension is None or not delivery.is_ended:
        return delivery
    return replace(delivery, suspension=end_reported(delivery.suspension, now=now))


def _with_entry(delivery: Delivery, index: int, entry: HistoryEntry) -> Delivery:
    history = (*delivery.history[:index], entry, *delivery.history[index + 1 :])
    return replace(delivery, history=history)
