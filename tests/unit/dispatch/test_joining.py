"""The end of a mail that went to each recipient alone: when it is told, once, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.suspension import Suspension, SuspensionState
from celery_mailproxy.dispatch.dispatcher import Dispatcher
from celery_mailproxy.dispatch.joining import Joiner
from celery_mailproxy.dispatch.notifying import Notifier
from celery_mailproxy.dispatch.signals import mail_error, mail_sent
from celery_mailproxy.errors import DispatchError, StoreError

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
ADDRESSES = ("ann@example.com", "bob@example.com", "cid@example.com")


class CountingStore(MemoryStore):
    """Counts the looks at members, and fails where it is told to."""

    looks = 0
    fails_at_look = 0

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        self.looks += 1
        if self.looks == self.fails_at_look:
            raise StoreError("gone for a moment")
        return super().get_many(message_ids)


class Resumed:
    """In place of the resumer: what was resumed."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.error: Exception | None = None

    def resume(self, delivery: Delivery) -> bool:
        if self.error is not None:
            raise self.error
        self.ids.append(delivery.message_id)
        return True


class Installation:
    def __init__(self) -> None:
        self.now = NOW
        self.store = CountingStore(Retention(ttl_seconds=1000, lease_seconds=60), clock=lambda: self.now)
        self.resumed = Resumed()
        self.events: list[str] = []
        self.app = Celery("joining", set_as_current=False, broker="memory://")
        notifier = Notifier(
            app=self.app,
            emit=lambda kind, fields: self.events.append(f"{kind} {fields['message_id']}"),
            resumer=self.resumed,  # type: ignore[arg-type]
        )
        self.dispatcher = Dispatcher(app=self.app, store=self.store, notifier=notifier)

    def add(self, addresses: Sequence[str] = ADDRESSES, *, message_id: str = "m") -> Delivery:
        suspension = Suspension(owner=message_id, since=NOW, state=SuspensionState.WAITING, message="{}")
        parent = delivery(message_id, members=tuple(addresses), suspension=suspension)
        self.store.register([parent, *(delivery(each, parent_id=message_id) for each in parent.member_ids)])
        return parent

    def tell(self, *reports: DeliveryReport) -> None:
        self.dispatcher.dispatch(reports)

    def status(self, message_id: str = "m") -> Status:
        found = self.store.get(message_id)
        assert found is not None
        return found.status

    def joined(self) -> dict[str, Any]:
        parent = self.store.get("m")
        assert parent is not None
        return Joiner(self.store).joined(parent)


def delivery(message_id: str, **fields: Any) -> Delivery:
    return Delivery(message_id=message_id, created_at=NOW, updated_at=NOW, task_id="m", **fields)


def report(number: int | str, kind: Kind = Kind.SENT, second: int = 0, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=f"m-{number}", at=NOW + timedelta(seconds=second), **fields)


@pytest.fixture
def installation() -> Installation:
    return Installation()


def test_the_whole_ends_with_its_last_member(installation: Installation) -> None:
    installation.add()
    installation.tell(report(0, second=9), report(2, Kind.ERROR, 4, reason="550 <cid@example.com>"))
    assert (installation.status(), installation.resumed.ids) == (Status.NEW, [])
    installation.tell(report(1, Kind.DEFERRED))
    assert installation.resumed.ids == []
    installation.tell(report(1, second=5))
    assert (installation.status(), installation.resumed.ids) == (Status.SENT, ["m"])
    outcome = installation.store.get("m").outcome  # type: ignore[union-attr]
    assert outcome is not None
    # The time of the last end, whoever finds it out.
    assert outcome.at == NOW + timedelta(seconds=9)
    assert outcome.reason == "1 of 3 recipients did not get it, the first: 550 <cid@example.com>"
    assert installation.joined() == {
        "ids": {address: f"m-{n}" for n, address in enumerate(ADDRESSES)},
        "sent": ["ann@example.com", "bob@example.com"],
        "error": {"cid@example.com": "550 <cid@example.com>"},
    }


def test_it_ends_as_error_where_nobody_was_reached(installation: Installation) -> None:
    installation.add()
    installation.tell(report(0, Kind.REJECTED, reason="no account"), report(1, Kind.ERROR), report(2, Kind.BOUNCED))
    assert (installation.status(), installation.resumed.ids) == (Status.ERROR, ["m"])
    assert list(installation.joined()["error"].values()) == ["no account", "no reason given", "no reason given"]


def test_a_bounce_after_it_was_sent_changes_nothing(installation: Installation) -> None:
    installation.add()
    installation.tell(*(report(n) for n in range(3)))
    before = installation.joined()
    installation.tell(report(1, Kind.BOUNCED, 50, reason="full"))
    assert installation.joined() == before
    assert installation.resumed.ids == ["m"]


def test_the_whole_is_no_mail_to_be_told_of(installation: Installation) -> None:
    heard: list[str] = []

    def listen(report: DeliveryReport, **kwargs: Any) -> None:
        heard.append(report.message_id)

    for signal in (mail_sent, mail_error):
        signal.connect(listen, sender=installation.app, weak=False)
    installation.add()
    installation.tell(*(report(n) for n in range(3)))
    assert sorted(heard) == ["m-0", "m-1", "m-2"]
    assert sorted(installation.events) == [f"mail-sent m-{n}" for n in range(3)]
    whole = installation.store.get("m")
    assert whole is not None
    assert [entry.is_dispatched for entry in whole.history] == [True] * len(whole.history) != []


def test_a_failure_before_the_look_is_made_good_by_the_next_run(installation: Installation) -> None:
    installation.add()
    installation.tell(report(0), report(1))
    installation.store.fails_at_look = installation.store.looks + 1
    with pytest.raises(StoreError):
        installation.tell(report(2))
    assert installation.status("m-2") is Status.SENT
    assert installation.status() is Status.NEW
    installation.tell(report(2))
    assert installation.resumed.ids == ["m"]


def test_a_failure_before_the_resumption_is_made_good_by_the_next_run(installation: Installation) -> None:
    installation.add()
    installation.resumed.error = StoreError("gone for a moment")
    with pytest.raises(StoreError):
        installation.tell(*(report(n) for n in range(3)))
    assert installation.status() is Status.SENT
    installation.resumed.error = None
    installation.tell(*(report(n) for n in range(3)))
    assert installation.resumed.ids == ["m"]
    installation.tell(*(report(n) for n in range(3)))
    assert installation.resumed.ids == ["m"]


def test_a_whole_that_cannot_be_told_holds_up_nobody_else(installation: Installation) -> None:
    installation.add()
    installation.store.register([delivery("other-0")])
    installation.resumed.error = ValueError("broken")
    other = DeliveryReport(kind=Kind.SENT, message_id="other-0", at=NOW)
    with pytest.raises(DispatchError):
        installation.tell(*(report(n) for n in range(3)), other)
    assert installation.events == ["mail-sent other-0"]
    # The members come again with it.
    installation.resumed.error = None
    installation.tell(*(report(n) for n in range(3)), other)
    assert installation.resumed.ids == ["m"]
    assert sorted(installation.events[1:]) == [f"mail-sent m-{n}" for n in range(3)]


def test_two_who_see_the_end_at_once_make_one_report(installation: Installation) -> None:
    installation.add()
    # Both have recorded, and neither has looked.
    for number, claim in ((0, "x"), (1, "x"), (2, "y")):
        installation.store.record([report(number, second=number)], claim=claim)
    for _ in range(3):
        installation.dispatcher.join(["m"])
    assert installation.resumed.ids == ["m"]
    whole = installation.store.get("m")
    assert whole is not None
    assert [entry.report.kind for entry in whole.history] == [Kind.SENT]


def test_a_call_looks_once_at_each_list_and_stops_at_the_first_that_is_awaited(installation: Installation) -> None:
    addresses = [f"a{number}@example.com" for number in range(250)]
    installation.add(addresses)
    installation.tell(*(report(number) for number in range(249)))
    # The last of all stands on the first page that is looked at.
    assert installation.store.looks == 1
    installation.tell(report(249))
    assert installation.store.looks == 1 + 3
    assert installation.resumed.ids == ["m"]
    assert len(installation.joined()["sent"]) == 250


def test_a_member_that_the_store_has_lost_does_not_hold_up_the_others(installation: Installation) -> None:
    installation.add()
    installation.tell(report(0))
    # Ended members are kept for 1000 seconds, the others for longer.
    installation.store.prune(now=NOW + timedelta(seconds=1001))
    assert installation.store.get("m-0") is None
    installation.tell(report(1), report(2))
    assert installation.resumed.ids == ["m"]
    assert installation.joined()["error"] == {"ann@example.com": "forgotten: its delivery is no longer in the store"}


def test_a_member_whose_id_is_another_mails_counts_as_never_sent(installation: Installation) -> None:
    installation.store.register([delivery("m-1")])
    installation.add()
    installation.tell(report(0), report(2))
    assert installation.status() is Status.SENT
    assert installation.joined()["error"] == {
        "bob@example.com": "never sent: its message id is in use for another email; a new email takes a new id"
    }


def test_what_is_printed_of_a_parent_holds_no_address(installation: Installation) -> None:
    assert "@" not in repr(installation.add())


def test_a_parent_that_is_gone_is_passed_over(installation: Installation) -> None:
    installation.store.register([delivery("m-0", parent_id="m")])
    installation.tell(report(0))
    assert installation.events == ["mail-sent m-0"]
