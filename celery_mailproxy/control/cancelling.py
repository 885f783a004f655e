"""`cancel`, `cancel_many`: mails withdrawn, and what that came to. None that may have been sent counts as cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from celery import Celery
from kombu.exceptions import OperationalError

from ..deliveries.delivery import Delivery, Status, by_place
from ..deliveries.leaving import UNCLEAR, is_tombstone
from ..deliveries.report import DeliveryReport, Kind, utcnow
from ..dispatch.recorder import recorder_of
from ..errors import ConfigurationError, ProxyRequestError, ProxyUnavailable
from ..proxy.deleting import Deletion, delete_waiting
from ..runtime import Runtime, get_runtime
from ..tasks.sending.gate import WITHDRAWN
from ..tasks.sending.revoked import is_legacy
from .cancellation import Cancellation, CancelOutcome
from .damaged_mails import delete_spares, healing_held_off

__all__ = ["Canceller", "cancel", "cancel_many"]

#: How long it is waited for what becomes of a mail that a worker, or the proxy, has in its hands just now.
_PATIENCE_SECONDS = 2.0

#: How often it is looked.
_LOOK_SECONDS = 0.1

#: How many are withdrawn at once.
_AT_ONCE = 500

_DELETED = "deleted at the proxy"
_LEGACY = "it is sent through the legacy transport, which takes nothing back"
_HEALED = "a worker is giving it to the proxy again just now: cancel it once more"
_MAYBE_SENT = "deleted at the proxy, which may have been sending it: it may have been sent"


def cancel(message_id: str, *, app: Celery | None = None) -> Cancellation:
    """Withdraw a mail: `cancel(result.id)`. The answer says what that came to.

    Before it is submitted, no worker submits it any more, whether its task waits in the broker, the outbox or for a
    retry. At the proxy it is deleted while it waits there. It ends as `cancelled` (`mail_cancelled`, and
    `DeliveryCancelled` as the result of `deliver_via_proxy`) where it surely was not sent; as `error` where it was
    deleted at the proxy and may have been sent. A mail to each recipient (`per_recipient`) is cancelled as a whole.

    Asks the store and the proxy, for a few seconds at most where the mail is on its way just now. Calling it again does
    no harm. Raises `StoreError` where the store cannot be reached.
    """
    return cancel_many([message_id], app=app)[0]


def cancel_many(message_ids: Iterable[str], *, app: Celery | None = None) -> list[Cancellation]:
    """`cancel` each of these mails; the answers in the same order. It costs far less than one call for each."""
    canceller = Canceller(get_runtime(app))
    ids = list(message_ids)
    parts = (list(dict.fromkeys(ids[start : start + _AT_ONCE])) for start in range(0, len(ids), _AT_ONCE))
    found = {each.message_id: each for part in parts for each in canceller.cancel(part)}
    return [found[message_id] for message_id in ids]


class Canceller:
    """Cancels mails of one app."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._recorder = recorder_of(runtime, hold_seconds=runtime.settings.outbox_seconds)
        self._patience_seconds = patience_seconds
        self._monotonic = monotonic
        self._sleep = sleep

    def cancel(self, message_ids: Sequence[str]) -> list[Cancellation]:
        """See `cancel_many`; each id once."""
        kept = self._store.withdraw(message_ids)
        parents = {each.message_id: each.member_ids for each in kept if each.members}
        members = [each for ids in parents.values() for each in ids]
        mails = [each for each in kept if not each.members]
        mails += self._store.withdraw(members) if members else []
        found = self._cancel_mails(mails, frozenset(members))
        return [
            _joined(each, [found[member] for member in parents[each]]) if each in parents else found[each]
            for each in message_ids
        ]

    def _cancel_mails(self, mails: Sequence[Delivery], members: frozenset[str]) -> dict[str, Cancellation]:
        answers = {
            each.message_id: _answer(each.message_id, CancelOutcome.UNKNOWN, None)
            for each in mails
            if is_tombstone(each) and each.message_id not in members
        }
        mails = self._settled([each for each in mails if each.message_id not in answers])
        unsent = [each for each in mails if _is_unsent(each)]
        answers |= self._end_unsent(unsent)
        for each in mails:
            if each.is_ended:
                answers[each.message_id] = _ended(each)
            elif is_legacy(each):
                answers[each.message_id] = _maybe(each, _LEGACY)
        left = [each for each in mails if each.message_id not in answers]
        for (server, tenant_id), group in by_place(left):
            answers |= self._cancel_at_proxy(server, tenant_id, group)
        return answers

    def _settled(self, mails: Sequence[Delivery]) -> list[Delivery]:
        """The mails once no run has them in its hands any more, as far as it tells in time."""
        deadline = self._monotonic() + self._patience_seconds
        settled = {each.message_id: each for each in mails}
        while begun := [each.message_id for each in settled.values() if _is_begun(each)]:
            if self._monotonic() >= deadline:
                break
            self._sleep(_LOOK_SECONDS)
            settled |= {each.message_id: each for each in self._store.get_many(begun) if each is not None}
        return list(settled.values())

    def _end_unsent(self, mails: Sequence[Delivery]) -> dict[str, Cancellation]:
        """End mails that no run has brought to the proxy, and none will."""
        # A mail that nobody has registered ends with its task, which knows its callbacks.
        self._report([_report(Kind.CANCELLED, each.message_id, WITHDRAWN) for each in mails if each.is_known])
        ids = [each.message_id for each in mails]
        answers: dict[str, Cancellation] = {}
        for message_id, delivery in zip(ids, self._store.get_many(ids), strict=True):
            is_other = delivery is not None and delivery.is_ended and delivery.status is not Status.CANCELLED
            # It expired, say, or its task was revoked.
            answers[message_id] = (
                _ended(delivery)
                if delivery is not None and is_other
                else _answer(message_id, CancelOutcome.BEFORE_SUBMISSION, Status.CANCELLED)
            )
        return answers

    def _cancel_at_proxy(
        self, server: str, tenant_id: str | None, mails: Sequence[Delivery]
    ) -> dict[str, Cancellation]:
        """Delete what the proxy has, or may have."""
        if tenant_id is None:
            return {each.message_id: _maybe(each, "no tenant is known to ask the proxy for it") for each in mails}
        with healing_held_off(self._store, mails) as healed:
            here = [each for each in mails if each.message_id not in healed]
            answers = self._delete_at_proxy(tenant_id, server, here)
        return answers | {e.message_id: _maybe(e, _HEALED) for e in mails if e.message_id in healed}

    def _delete_at_proxy(self, tenant_id: str, server: str, mails: Sequence[Delivery]) -> dict[str, Cancellation]:
        try:
            client = self._runtime.client(server)
            fates = delete_waiting(
                client,
                tenant_id,
                [each.message_id for each in mails],
                patience_seconds=self._patience_seconds,
                monotonic=self._monotonic,
                sleep=self._sleep,
            )
        except (ProxyUnavailable, ProxyRequestError, ConfigurationError) as exc:
            return {each.message_id: _maybe(each, f"the proxy could not be asked: {exc}") for each in mails}
        proven = {each.message_id: _is_proven(each, fates[each.message_id]) for each in mails}
        gone = [each for each in mails if fates[each.message_id] in (Deletion.DELETED, Deletion.MAYBE_SENT)]
        delete_spares(client, tenant_id, gone)
        self._report(
            [
                _report(Kind.CANCELLED, each.message_id, _DELETED)
                if proven[each.message_id]
                else _report(Kind.ERROR, each.message_id, _MAYBE_SENT)
                for each in gone
            ]
        )
        return {
            each.message_id: _answer(each.message_id, CancelOutcome.AT_PROXY, Status.CANCELLED)
            if proven[each.message_id]
            else _told(each, fates[each.message_id])
            for each in mails
        }

    def _report(self, reports: Sequence[DeliveryReport]) -> None:
        """Record these ends, and leave it to a worker to notify the application. Raises `StoreError`."""
        # Without the broker they are in the store, and the maintenance dispatches them.
        with suppress(OperationalError):
            self._recorder.record(reports)


def _is_unsent(delivery: Delivery) -> bool:
    """Whether the proxy surely has not got it; that no run brings it there any more, it says itself."""
    return delivery.status is Status.NEW and not delivery.run and not is_legacy(delivery)


def _is_begun(delivery: Delivery) -> bool:
    """Whether a run may be submitting it just now."""
    return delivery.status is Status.NEW and bool(delivery.run)


def _is_proven(delivery: Delivery, fate: Deletion) -> bool:
    """Whether it was deleted, and no run can bring it to the proxy once more."""
    is_settled = delivery.status is not Status.NEW and delivery.run != UNCLEAR
    return fate is Deletion.DELETED and is_settled


_REASONS: Mapping[Deletion, str] = {
    Deletion.DELETED: "a worker was submitting it while it was deleted at the proxy",
    Deletion.MAYBE_SENT: "the proxy may have been sending it while it was deleted",
    Deletion.KEPT: "the proxy did not delete it",
    Deletion.ABSENT: "the proxy does not have it: it was sent and forgotten there, is on its way, or was lost",
    Deletion.UNSAID: "the proxy did not say what became of it",
}


def _told(delivery: Delivery, fate: Deletion) -> Cancellation:
    if fate is Deletion.SENT:
        return _answer(delivery.message_id, CancelOutcome.TOO_LATE, Status.SENT)
    if fate is Deletion.ENDED:
        return _answer(delivery.message_id, CancelOutcome.TOO_LATE, Status.ERROR)
    is_gone = fate in (Deletion.DELETED, Deletion.MAYBE_SENT)
    status = Status.ERROR if is_gone else delivery.status
    return _answer(delivery.message_id, CancelOutcome.MAYBE_SENT, status, _REASONS[fate])


def _ended(delivery: Delivery) -> Cancellation:
    """The answer for a mail that has ended."""
    if delivery.status is not Status.CANCELLED:
        return _answer(delivery.message_id, CancelOutcome.TOO_LATE, delivery.status)
    had_proxy = delivery.queued_at is not None
    outcome = CancelOutcome.AT_PROXY if had_proxy else CancelOutcome.BEFORE_SUBMISSION
    return _answer(delivery.message_id, outcome, Status.CANCELLED)


def _maybe(delivery: Delivery, reason: str) -> Cancellation:
    return _answer(delivery.message_id, CancelOutcome.MAYBE_SENT, delivery.status, reason)


def _answer(message_id: str, outcome: CancelOutcome, status: Status | None, reason: str | None = None) -> Cancellation:
    return Cancellation(message_id=message_id, outcome=outcome, status=status, reason=reason)


#: Of a mail to each recipient that counts which stands first here.
_WORST_FIRST = (
    CancelOutcome.MAYBE_SENT,
    CancelOutcome.TOO_LATE,
    CancelOutcome.UNKNOWN,
    CancelOutcome.AT_PROXY,
    CancelOutcome.BEFORE_SUBMISSION,
)


def _joined(message_id: str, members: Sequence[Cancellation]) -> Cancellation:
    """The answer for a mail to each recipient alone."""
    worst = min(members, key=lambda each: _WORST_FIRST.index(each.outcome))
    number = sum(each.is_cancelled for each in members)
    reason = None if worst.is_cancelled else f"{number} of {len(members)} recipients were cancelled"
    return _answer(message_id, worst.outcome, worst.status, reason)


def _report(kind: Kind, message_id: str, reason: str) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=utcnow(), reason=reason)
