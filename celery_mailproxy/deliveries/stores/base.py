"""The contract of a delivery store. `tests/contract/test_store_contract.py` holds every store to it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..delivery import Delivery
from ..recording import Dispatched, Recorded
from ..report import DeliveryReport
from ..sought_address import SoughtAddress
from ..suspension import Step
from .leases import lease_after
from .outbox import Outbox
from .retention import Retention
from .suppression import SuppressionList
from .withdrawals import Withdrawals

__all__ = [
    "AS_USUAL",
    "COUNTS_KEPT",
    "Advanced",
    "DeliveryStore",
    "Erased",
    "Kept",
    "Recording",
    "Retention",
    "count_span",
    "span_start",
]

#: Counters are kept for spans of this length, which divides a day.
_SPAN_SECONDS = 600

#: How long counters are kept: a week, and what of today belongs to it.
COUNTS_KEPT = timedelta(days=8)


def count_span(moment: datetime) -> int:
    """The beginning, in unix seconds, of the ten minutes that the moment lies in."""
    return int(moment.timestamp()) // _SPAN_SECONDS * _SPAN_SECONDS


def span_start(moment: datetime) -> datetime:
    """The same as a moment in UTC."""
    return datetime.fromtimestamp(count_span(moment), timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """How reports are recorded where it is not as usual: see `DeliveryStore.record`."""

    #: A report of an unknown message makes a delivery for it (`is_known=False`).
    adopt: bool = False
    #: New reports count as dispatched at once: for callers who know that nothing listens.
    is_settled: bool = False
    #: Reports count only where none of the message has come yet. Never together with `adopt`.
    only_new: bool = False
    #: The claim of a run that has ended, whose reports this one goes on with.
    after: str | None = None
    #: How far ahead the claim counts as renewed: for reports that wait for another run. Negative to let go of them.
    hold_seconds: float = 0.0


#: For known messages; whatever is new gets dispatched.
AS_USUAL = Recording()


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """A store's answer to a step: whether it was allowed, and the delivery as it stands then."""

    is_allowed: bool
    delivery: Delivery | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What holds an address and was left as it is.

    `kind` is `delivery`, `task` (a mail in the outbox, by its task's id), `dead letter` (see Django's drain), or
    `damaged` (a record that cannot be read, and may hold it). `status` is that of a delivery.
    """

    kind: str
    id: str
    status: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What was done with a page of records: the ids of those that changed, of those deleted, and what was left."""

    looked_at: int = 0
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()

    def joined(self, other: Erased) -> Erased:
        """Both as one, each id once: of the same records, or of others."""
        return Erased(
            looked_at=self.looked_at + other.looked_at,
            changed=tuple(dict.fromkeys([*self.changed, *other.changed])),
            deleted=tuple(dict.fromkeys([*self.deleted, *other.deleted])),
            kept=tuple(dict.fromkeys([*self.kept, *other.kept])),
        )


class DeliveryStore(Withdrawals):
    """Where deliveries are kept. Safe to share between threads; a process that forks opens one of its own.

    Every method is atomic for each message. A store that cannot be reached raises `StoreError`.

    A record that cannot be read costs its own message only: methods about many pass over it, log its id and keep it for
    `check` (see `damage`); where there is no answer without it they raise `DamagedRecord`.
    """

    #: Whether the store wants sender, recipients and priority in a delivery's summary, as `from`, `to`, `priority`.
    keeps_envelope = False

    #: Whether the outbox is used where `mail_proxy_outbox` says nothing.
    has_outbox_by_default = False

    #: Says what time it is.
    clock: Callable[[], datetime]

    #: Addresses that are to get no more mail.
    suppression: SuppressionList

    @property
    @abstractmethod
    def outbox(self) -> Outbox:
        """Tasks' messages, kept beside the deliveries."""

    @abstractmethod
    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Keep each delivery unless its message id is known, and answer what is kept, in the same order.

        See `recording.merge_registration`: the first registration wins; reports seen before it are kept. Raises
        `DamagedRecord` with the ids of all whose records cannot be read; the call without them may follow at once.
        """

    @abstractmethod
    def get(self, message_id: str) -> Delivery | None:
        """The delivery, or None. Raises `DamagedRecord`."""

    @abstractmethod
    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        """What `get` says of each, in that order, and None of a damaged one. One round trip for all."""

    @abstractmethod
    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        """Apply the reports in the order given (see `recording.record_report`); one answer each, in that order.

        A report of an unknown message changes nothing and is answered `UNKNOWN`, unless `how` adopts it (see
        `Recording`). Callers leave repetitions within one call out. One round trip for all. The same claim renews what
        it holds.
        """

    @abstractmethod
    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        """Note that these reports have been dispatched (see `recording.mark_dispatched`).

        Unknown ones are passed over. One round trip for all.
        """

    @abstractmethod
    def undispatched(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        """Deliveries with reports that were recorded and not dispatched, and whose claim is older than `before`.

        See `delivery.undispatched_entries`. Reads those only, and of too many the least recent.
        """

    @abstractmethod
    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        """Move a suspended result on by one step (see `suspension.advance`)."""

    @abstractmethod
    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        """Record that the proxy has a message, without anything to dispatch, and suspend its result.

        Does what `record([report], claim=claim, how=Recording(is_settled=True))` and
        `advance(…, Step.SUBMITTED, token=claim)` do, and answers what the latter answers. One round trip: every mail
        whose result follows it takes this step.
        """

    @abstractmethod
    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        """Deliveries whose suspended result has been silent since before `before` (see `suspension.silent_since`).

        Reads those only, and of too many the least recent. A result whose message's end is yet to be dispatched may be
        left to `undispatched`.
        """

    @abstractmethod
    def due(self, *, now: datetime, limit: int = 100) -> list[Delivery]:
        """Deliveries whose end is awaited from the proxy, and of which it is time to ask (see `Retention.due_at`).

        Reads those only, and of too many those that are due for longest. Each change of a delivery sets its time anew.
        """

    @abstractmethod
    def put_off(self, message_ids: Sequence[str], *, until: datetime) -> None:
        """Let these be due only from that moment on, as long as nothing new is recorded of them.

        Those are passed over of which nothing is awaited. One round trip for all.
        """

    @abstractmethod
    def failed(self, *, limit: int = 100) -> list[str]:
        """Ids of messages that have a report with a failed handler, in no particular order."""

    @abstractmethod
    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        """Forget up to `limit` deliveries that have expired; the number forgotten. 0 where expiry is automatic."""

    @abstractmethod
    def pages(self) -> Iterator[Sequence[Delivery]]:
        """All deliveries, some hundred at a time, in no order: for people who count.

        Those that are added or forgotten meanwhile may be missing, and one may come twice.
        """

    @abstractmethod
    def erase(self, sought: SoughtAddress, *, is_dry_run: bool = False) -> Iterator[Erased]:
        """Erase an address from everything that is kept, a page of records at a time (see `erasing.erase`).

        What is still needed is left and named: deliveries that are open, tasks in the outbox, records that cannot be
        read. What others change meanwhile is not lost, and what they add may be missed. May be stopped after any page,
        and begun again. With `is_dry_run` nothing is written.
        """

    @abstractmethod
    def get_value(self, name: str) -> str | None:
        """What `set_value` has kept under the name, or None."""

    @abstractmethod
    def set_value(self, name: str, value: str | None) -> None:
        """Keep a short text for every process that shares this store; None forgets it. The last one wins."""

    @abstractmethod
    def swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        """`set_value`, if the value is still `before`; whether it was."""

    def take_lease(self, name: str, holder: str, *, seconds: float) -> bool:
        """Whether `holder` has the lease of that name, for so long from now on.

        It is free where nobody has taken it, or who has did not renew it in time; its holder may renew it, and gives it
        back with 0 `seconds`. Clocks of several machines count: where they differ, two may hold it for that long.
        """
        key = f"lease.{name}"
        for _ in range(2):
            value = self.get_value(key)
            is_ours, after = lease_after(value, holder, seconds=seconds, now=self.clock())
            if not is_ours or after == value or self.swap_value(key, value, after):
                return is_ours
        # Another one was quicker, twice.
        return False

    @abstractmethod
    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        """Add to counters: `{"proxy/sent": 3}`. One round trip for all.

        For people who watch: a call that was cut off may count twice, and nothing else depends on it.
        """

    @abstractmethod
    def counts(self, *, since: datetime) -> dict[str, int]:
        """What has been counted since, from the beginning of that moment's ten minutes on; a week back at most."""

    @abstractmethod
    def check(self) -> str:
        """Reach the store and say in a few words what it is, without secrets. Raises `StoreError` if it fails."""

    def server_time(self) -> datetime | None:
        """What time it is where the store is; None where it has no clock of its own. Raises `StoreError`."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of connections. The store may be used again afterwards."""
