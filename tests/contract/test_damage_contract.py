"""A record that cannot be read costs its own message, in every store: the others of a call are served."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.stores.damage import damaged_ids
from celery_mailproxy.deliveries.suspension import Step, Suspension
from celery_mailproxy.errors import DamagedRecord

from .store_values import START, Clock, DamageStore, delivery, report

IDS = ("good", "bad", "fine")


@pytest.fixture
def store(damage_store: DamageStore) -> DeliveryStore:
    """With three messages, whose results wait and whose ends have been recorded; one of them is damaged by then."""
    store = damage_store.store
    suspensions = {each: Suspension(owner=each, since=START, message="{}") for each in IDS}
    store.register([delivery(each, suspension=suspension) for each, suspension in suspensions.items()])
    store.record([report(each, Kind.QUEUED) for each in IDS], claim="c1", how=Recording(is_settled=True))
    store.record([report(each, Kind.DEFERRED) for each in IDS], claim="c1")
    damage_store.damage("bad")
    return store


def test_its_reports_are_answered_damaged_and_the_others_count(
    store: DeliveryStore, caplog: pytest.LogCaptureFixture
) -> None:
    answers = store.record([report(each) for each in IDS], claim="c1")
    assert [answer.verdict.value for answer in answers] == ["new", "damaged", "new"]
    assert [answer.delivery is None for answer in answers] == [False, True, False]
    # Once more, as after a crash.
    answers = store.record([report(each) for each in IDS], claim="c1", how=Recording(adopt=True))
    assert [answer.verdict.value for answer in answers] == ["new", "damaged", "new"]
    assert "message 'bad': its record cannot be read" in caplog.text


def test_it_cannot_be_withdrawn_and_the_others_are_taken_back(store: DeliveryStore) -> None:
    with pytest.raises(DamagedRecord) as caught:
        store.withdraw(IDS)
    assert caught.value.message_ids == ("bad",)
    store.take_back(IDS, "0a")
    assert [each.is_withdrawn for each in store.withdraw(["good", "fine"])] == [True, True]


def test_the_others_are_marked_read_and_listed(store: DeliveryStore, clock: Clock) -> None:
    assert [found is None for found in store.get_many(IDS)] == [False, True, False]
    clock.advance(3600 * 3)
    before = clock.now - timedelta(hours=1)
    assert {each.message_id for each in store.undispatched(before=before)} == {"good", "fine"}
    assert {each.message_id for each in store.stalled(before=clock.now)} == {"good", "fine"}
    key = report("good", Kind.DEFERRED).key
    store.mark_dispatched([Dispatched(message_id=each, key=key, failed=("x",)) for each in IDS])
    assert store.undispatched(before=clock.now) == []
    assert {"good", "fine"} <= set(store.failed())


@pytest.mark.parametrize("number", [3, 7])
def test_damaged_records_do_not_use_up_the_limit(damage_store: DamageStore, clock: Clock, number: int) -> None:
    store = damage_store.store
    bad, good = [f"bad{n}" for n in range(number)], ["good1", "good2", "good3", "good4"]
    for message_id in (*bad, *good):
        suspension = Suspension(owner=message_id, since=clock.now, message="{}")
        store.register([delivery(message_id, suspension=suspension)])
        store.record([report(message_id, Kind.DEFERRED)], claim="c1")
        # The damaged ones come first.
        clock.advance(1)
    for message_id in bad:
        damage_store.damage(message_id)
    clock.advance(3600 * 3)
    before = clock.now - timedelta(hours=1)
    assert {each.message_id for each in store.undispatched(before=before, limit=3)} == set(good[:3])
    assert {each.message_id for each in store.stalled(before=before, limit=3)} == set(good[:3])


def test_it_is_named_where_there_is_no_answer_without_it(store: DeliveryStore) -> None:
    for call in (
        lambda: store.get("bad"),
        lambda: store.register([delivery("new"), delivery("bad")]),
        lambda: store.advance("bad", Step.SUBMITTED),
        lambda: store.record_submitted(report("bad", Kind.QUEUED), claim="c1"),
    ):
        with pytest.raises(DamagedRecord) as raised:
            call()
        assert raised.value.message_ids == ("bad",)
        assert "'bad'" in str(raised.value)
    # The same call without it.
    assert store.register([delivery("new")]) == [delivery("new")]


def test_it_is_kept_in_mind_until_it_is_fixed_or_gone(damage_store: DamageStore) -> None:
    store = damage_store.store
    store.register([delivery("bad", status=Status.QUEUED), delivery("worse", status=Status.QUEUED)])
    fix = damage_store.damage("bad")
    damage_store.damage("worse")
    assert damaged_ids(store) == []
    store.get_many(["bad"])
    assert damaged_ids(store) == ["bad"]
    store.record([report("worse"), report("bad")], claim="c1")
    assert damaged_ids(store) == ["bad", "worse"]
    fix()
    assert damaged_ids(store) == ["worse"]
    assert damaged_ids(store) == ["worse"]


def test_a_damaged_record_that_was_fixed_is_listed_again(damage_store: DamageStore, clock: Clock) -> None:
    store = damage_store.store
    store.register([delivery("bad", suspension=Suspension(owner="bad", since=START, message="{}"))])
    store.record([report("bad", Kind.DEFERRED)], claim="c1")
    fix = damage_store.damage("bad")
    clock.advance(3600 * 3)
    assert (store.undispatched(before=clock.now), store.stalled(before=clock.now)) == ([], [])
    fix()
    clock.advance(60)
    assert [each.message_id for each in store.undispatched(before=clock.now)] == ["bad"]
    assert [each.message_id for each in store.stalled(before=clock.now)] == ["bad"]
