"""What every store keeps beside deliveries: values that operators set, and counters."""

from __future__ import annotations

import threading
from datetime import timedelta

from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores import DeliveryStore
from tests.harness.waiting import PATIENCE_SECONDS

from .store_values import START, Clock, MakeStore


def test_a_value_is_kept_for_all_who_share_the_store(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    assert one.get_value("migration.share") is None
    one.set_value("migration.share", "0.25")
    assert other.get_value("migration.share") == "0.25"
    other.set_value("migration.share", "0.5")
    assert one.get_value("migration.share") == "0.5"
    assert one.get_value("migration.breaker") is None


def test_a_value_is_forgotten_by_none(store: DeliveryStore) -> None:
    store.set_value("name", "ü" * 500)
    assert store.get_value("name") == "ü" * 500
    store.set_value("name", None)
    store.set_value("name", None)
    assert store.get_value("name") is None


def test_counters_add_up_over_the_time_that_is_asked_for(store: DeliveryStore, clock: Clock) -> None:
    store.count({"proxy/sent": 2, "legacy/sent": 1}, at=START - timedelta(days=6))
    store.count({"proxy/sent": 3}, at=START - timedelta(minutes=70))
    store.count({"proxy/sent": 4, "proxy/error": 1}, at=START)
    store.count({"proxy/sent": 5}, at=START + timedelta(seconds=30))
    assert store.counts(since=START) == {"proxy/sent": 9, "proxy/error": 1}
    assert store.counts(since=START - timedelta(minutes=60)) == {"proxy/sent": 9, "proxy/error": 1}
    assert store.counts(since=START - timedelta(days=1)) == {"proxy/sent": 12, "proxy/error": 1}
    assert store.counts(since=START - timedelta(days=7)) == {"proxy/sent": 14, "proxy/error": 1, "legacy/sent": 1}
    clock.advance(20 * 60)
    assert store.counts(since=clock.now) == {}


def test_nothing_counted_is_nothing(store: DeliveryStore) -> None:
    store.count({}, at=START)
    assert store.counts(since=START - timedelta(days=7)) == {}


def test_counters_of_many_threads_lose_nothing(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(4)]

    def count(store: DeliveryStore) -> None:
        for _ in range(10):
            store.count({"proxy/sent": 1, "legacy/sent": 2}, at=START)

    threads = [threading.Thread(target=count, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert stores[0].counts(since=START) == {"proxy/sent": 40, "legacy/sent": 80}


def test_pruning_forgets_old_counters_only(store: DeliveryStore) -> None:
    store.count({"proxy/sent": 1}, at=START - timedelta(days=6))
    store.set_value("migration.share", "1")
    assert store.prune(now=START) == 0
    assert store.counts(since=START - timedelta(days=7)) == {"proxy/sent": 1}
    assert store.get_value("migration.share") == "1"


def test_a_value_is_swapped_only_where_it_is_as_told(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    assert not one.swap_value("name", "a", "b")
    assert one.get_value("name") is None
    assert one.swap_value("name", None, "a")
    assert not other.swap_value("name", None, "b")
    assert other.swap_value("name", "a", "")
    assert not one.swap_value("name", None, "c")
    assert one.get_value("name") == ""
    assert one.swap_value("name", "", None)
    assert one.swap_value("name", None, None)
    assert other.get_value("name") is None


def test_a_lease_is_its_holders_until_it_expires(make_store: MakeStore, clock: Clock) -> None:
    one, other = make_store(), make_store()
    assert one.take_lease("maintenance", "w1", seconds=60)
    assert one.take_lease("another", "w2", seconds=60)
    assert not other.take_lease("maintenance", "w2", seconds=60)
    clock.advance(59)
    assert one.take_lease("maintenance", "w1", seconds=60)
    clock.advance(59)
    assert not other.take_lease("maintenance", "w2", seconds=60)
    clock.advance(1)
    assert other.take_lease("maintenance", "w2", seconds=60)
    assert not one.take_lease("maintenance", "w1", seconds=60)


def test_a_lease_that_is_given_back_is_free(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    assert one.take_lease("maintenance", "w1", seconds=60)
    assert not other.take_lease("maintenance", "w2", seconds=0)
    assert not other.take_lease("maintenance", "w2", seconds=60)
    assert one.take_lease("maintenance", "w1", seconds=0)
    assert one.take_lease("maintenance", "w1", seconds=0)
    assert other.take_lease("maintenance", "w2", seconds=60)


def test_a_lease_that_nobody_can_read_is_free(store: DeliveryStore) -> None:
    store.set_value("lease.maintenance", "{}")
    assert store.take_lease("maintenance", "w1", seconds=60)


def test_of_many_who_want_a_lease_at_once_one_gets_it(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(4)]
    got: list[int] = []
    start = threading.Barrier(len(stores))

    def take(number: int) -> None:
        start.wait(PATIENCE_SECONDS)
        if stores[number].take_lease("maintenance", f"w{number}", seconds=60):
            got.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(got) == 1


def test_the_time_where_the_store_is_is_the_time(store: DeliveryStore) -> None:
    before = utcnow()
    there = store.server_time()
    if there is not None:
        # It is on this machine.
        assert before - timedelta(milliseconds=1) <= there <= utcnow() + timedelta(milliseconds=1)


def test_a_store_on_a_server_says_what_time_it_is_in_redis(store: DeliveryStore) -> None:
    has_server = "Redis" in repr(store)
    assert (store.server_time() is not None) == has_server
