"""What we remember of one message: values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from .report import DeliveryReport, Kind
from .suspension import Suspension

__all__ = [
    "Delivery",
    "HistoryEntry",
    "Status",
    "by_place",
    "callback_name",
    "failed_entries",
    "is_undispatched",
    "undispatched_entries",
    "undispatched_since",
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
    CANCELLED = "cancelled"  #: withdrawn by the application before it was sent
    EXPIRED = "expired"  #: not sent by the moment after which it should not be
    SUPPRESSED = "suppressed"  #: not sent, since its recipients are on the suppression list

    def __str__(self) -> str:
        return self.value

    @property
    def is_end(self) -> bool:
        """True where nothing more is awaited (a bounce may still follow `sent`)."""
        return self in _ENDS


#: We ourselves withheld the mail.
_WITHHELD = (Status.CANCELLED, Status.EXPIRED, Status.SUPPRESSED)

_ENDS = frozenset({Status.SENT, Status.ERROR, Status.BOUNCED, Status.REJECTED, *_WITHHELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A report in a delivery's history.

    `claim` is that of the run that dispatches it (None: stale, never dispatched), `claimed_at` when it was renewed
    last; once the report has been dispatched they are "" and None. `failed` names the handlers that raised: they can be
    run again (see `Dispatcher.replay`).
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

    `callbacks` maps `sent`, `error`, `deferred` and `bounced` to serialised Celery signatures; an empty one is never
    called (see `erasing`). `summary` is a small dict for people (subject, number of recipients). `is_known` is False
    where only reports have been seen: the message was submitted by another application, or its record has expired.

    `metadata` and `tags` are the application's own. `expires_at` is when the mail must not be sent any more.

    `run` is the run that may be submitting it, or may have, and `is_withdrawn` whether none may begin to any more (see
    `leaving`).

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
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()
    expires_at: datetime | None = None
    run: str = field(default="", repr=False)
    is_withdrawn: bool = False
    summary: Mapping[str, Any] = field(default_factory=dict, repr=False)
    is_known: bool = True
    suspension: Suspension | None = None
    members: tuple[str, ...] = field(default=(), repr=False)
    parent_id: str | None = None

    @property
    def labels(self) -> dict[str, Any]:
        """`metadata` and `tags` as JSON has them, each where the application has given any."""
        own = {"metadata": dict(self.metadata), "tags": list(self.tags)}
        return {name: value for name, value in own.items() if value}

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
        """How often the proxy has tried, as far as it has reported."""
        tries = (Kind.DEFERRED, Kind.SENT, Kind.ERROR)
        return sum(not entry.is_stale and entry.report.kind in tries for entry in self.history)

    def _time_of(self, kind: Kind) -> datetime | None:
        return next((e.report.at for e in self.history if e.report.kind is kind and not e.is_stale), None)


def callback_name(outcome: str, index: int, signature: Mapping[str, Any]) -> str:
    """How a callback is named among the handlers that failed: `on_sent[0]:shop.paid`."""
    return f"on_{outcome}[{index}]:{signature.get('task')}"


def failed_entries(delivery: Delivery) -> Iterator[HistoryEntry]:
    """The history entries with handlers to run again."""
    return (entry for entry in delivery.history if entry.failed)


def is_undispatched(entry: HistoryEntry) -> bool:
    """Whether the report counts, and somebody has yet to dispatch it."""
    return not entry.is_stale and not entry.is_dispatched


def undispatched_entries(delivery: Delivery, *, before: datetime) -> Iterator[HistoryEntry]:
    """The history entries that are to be dispatched, and whose claim has not been renewed since `before`."""
    entries = (entry for entry in delivery.history if is_undispatched(entry))
    return (entry for entry in entries if entry.claimed_at is not None and entry.claimed_at < before)


def undispatched_since(delivery: Delivery) -> datetime | None:
    """The least recent renewal among the claims of what is to be dispatched; None where nothing is."""
    claimed = (entry.claimed_at for entry in delivery.history if is_undispatched(entry))
    return min((each for each in claimed if each is not None), default=None)


def _is_end(kind: Kind) -> bool:
    return kind.value in {status.value for status in _ENDS}


def by_place(deliveries: Sequence[Delivery]) -> list[tuple[tuple[str, str | None], list[Delivery]]]:
    """The deliveries by their server and tenant, in the order in which these first appear."""
    places: dict[tuple[str, str | None], list[Delivery]] = {}
    for each in deliveries:
        places.setdefault((each.server, each.tenant_id or None), []).append(each)
    return list(places.items())
