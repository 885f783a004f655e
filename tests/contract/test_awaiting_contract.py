"""Which deliveries it is time to ask the proxy about, in every store: see `DeliveryStore.due`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import Dispatched, Verdict
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.suspension import Suspension
from tests.contract.store_values import RETENTION, START, Clock, delivery, report

OVERDUE = RETENTION.overdue_seconds


def submit(store: DeliveryStore, *message_ids: str, **fields: Any) -> None:
    """Register messages that the proxy then has."""
    store.register([delivery(each, **fields) for each in message_ids])
    record(store, *(report(each, Kind.QUEUED) for each in message_ids), is_settled=True)


def record(store: DeliveryStore, *reports: DeliveryReport, **options: Any) -> list[Verdict]:
    return [each.verdict for each in store.record(reports, claim="run", how=Recording(**options))]


def due(store: DeliveryStore, clock: Clock, **options: Any) -> set[str]:
    found = store.due(now=clock.now, **options)
    assert found == store.get_many([each.message_id for each in found])
    return {each.message_id for each in found}


def next_try(message_id: str, seconds: float) -> DeliveryReport:
    """A deferral by 0.6 or v1, which say when they try again."""
    moment = (START + timedelta(seconds=seconds)).timestamp()
    (parsed,) = parse_entry({"id": message_id, "deferred_ts": int(moment)}, arrived_at=START)
    return parsed


def test_what_the_proxy_has_is_due_once_it_has_been_silent_for_too_long(store: DeliveryStore, clock: Clock) -> None:
    submit(store, "m")
    store.register([delivery("new")])
    clock.advance(OVERDUE)
    assert due(store, clock) == set()
    clock.advance(0.002)
    assert due(store, clock) == {"m"}


@pytest.mark.parametrize("kind", [Kind.SENT, Kind.ERROR, Kind.CANCELLED, Kind.EXPIRED, Kind.BOUNCED])
def test_what_has_ended_is_never_due(store: DeliveryStore, clock: Clock, kind: Kind) -> None:
    submit(store, "m", "n")
    record(store, report("m", kind))
    store.mark_dispatched([Dispatched(message_id="m", key=report("m", kind).key)])
    # Too late to count.
    record(store, report("m", Kind.DEFERRED, 3), report("m", Kind.QUEUED))
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"n"}


def test_parents_and_messages_of_others_are_never_due(store: DeliveryStore, clock: Clock) -> None:
    submit(store, "parent", members=("ann@example.com",))
    submit(store, "parent-0", parent_id="parent")
    record(store, report("orphan", Kind.DEFERRED), adopt=True)
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"parent-0"}


def test_what_goes_through_a_legacy_transport_is_never_due(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m", server="legacy")])
    record(store, report("m", Kind.QUEUED, via="legacy"))
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == set()


def test_a_deferred_one_is_due_after_its_next_try(store: DeliveryStore, clock: Clock) -> None:
    submit(store, "m", "n")
    record(store, next_try("m", 500), report("n", Kind.DEFERRED, reason="later"))
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"n"}
    clock.advance(500)
    assert due(store, clock) == {"m", "n"}


def test_what_was_deferred_before_it_was_registered_is_due(store: DeliveryStore, clock: Clock) -> None:
    record(store, report("m", Kind.DEFERRED), adopt=True)
    store.register([delivery("m")])
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"m"}


def test_what_must_not_be_sent_any_more_is_due_at_once(store: DeliveryStore, clock: Clock) -> None:
    expires_at = START + timedelta(seconds=5)
    submit(store, "m", "deferred", "sent", expires_at=expires_at)
    waiting = Suspension(owner="task", since=START)
    store.register([delivery("waiting", task_id="task", expires_at=expires_at, suspension=waiting)])
    store.record_submitted(report("waiting", Kind.QUEUED), claim="task")
    store.register([delivery("new", expires_at=expires_at)])
    record(store, next_try("deferred", 500), report("sent"))
    assert due(store, clock) == set()
    clock.advance(5.1)
    assert due(store, clock) == {"m", "deferred", "waiting"}
    record(store, report("new", Kind.QUEUED), is_settled=True)
    assert due(store, clock) == {"m", "deferred", "waiting", "new"}


def test_of_a_suspended_result_the_message_is_due(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m", task_id="task", suspension=Suspension(owner="task", since=START))])
    store.record_submitted(report("m", Kind.QUEUED), claim="task")
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"m"}


def test_of_too_many_those_are_due_that_have_waited_longest(store: DeliveryStore, clock: Clock) -> None:
    for number in range(5):
        submit(store, f"m-{number}")
        clock.advance(1)
    clock.advance(OVERDUE + 1)
    assert due(store, clock, limit=2) == {"m-0", "m-1"}
    assert len(due(store, clock)) == 5


def test_what_was_asked_for_is_put_off(store: DeliveryStore, clock: Clock) -> None:
    submit(store, "m", "n")
    submit(store, "expired", expires_at=START + timedelta(seconds=1))
    clock.advance(OVERDUE + 1)
    store.put_off(["m", "expired", "nobody"], until=clock.now + timedelta(seconds=50))
    assert due(store, clock) == {"n"}
    clock.advance(51)
    assert due(store, clock) == {"m", "n", "expired"}
    assert store.get("nobody") is None


def test_a_later_report_counts_anew(store: DeliveryStore, clock: Clock) -> None:
    submit(store, "m")
    store.put_off(["m"], until=START + timedelta(days=3))
    record(store, report("m", Kind.DEFERRED, 1))
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"m"}


def test_nothing_is_put_off_that_nobody_awaits(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("new"), delivery("sent", status=Status.SENT)])
    store.put_off(["new", "sent"], until=START + timedelta(days=3))
    store.put_off([], until=START)
    record(store, report("new", Kind.QUEUED), is_settled=True)
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"new"}


def test_the_end_of_another_ones_message_of_that_id_hides_none(store: DeliveryStore, clock: Clock) -> None:
    record(store, report("m", tenant_id="other"), adopt=True)
    submit(store, "m", tenant_id="mine")
    # Its report was dispatched only now.
    store.mark_dispatched([Dispatched(message_id="m", key=report("m").key)])
    clock.advance(OVERDUE + 1)
    assert due(store, clock) == {"m"}


def test_many_are_due_and_put_off_bit_by_bit(store: DeliveryStore, clock: Clock) -> None:
    ids = [f"m-{number}" for number in range(1200)]
    submit(store, *ids)
    clock.advance(OVERDUE + 1)
    assert due(store, clock, limit=2000) == set(ids)
    seen: set[str] = set()
    while found := due(store, clock, limit=500):
        assert not found & seen
        seen |= found
        store.put_off(sorted(found), until=clock.now + timedelta(seconds=50))
    assert seen == set(ids)


def test_all_deliveries_come_in_pages(store: DeliveryStore) -> None:
    ids = [f"m-{number}" for number in range(450)]
    store.register([delivery(each) for each in ids])
    pages = list(store.pages())
    assert len(pages) > 1
    assert {each.message_id for page in pages for each in page} == set(ids)
