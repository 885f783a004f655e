"""The contract of a suppression list, held by every store; `tests/django/log/test_store.py` holds Django's to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from itertools import chain

from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.suppression import SuppressionList
from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress
from tests.harness.waiting import PATIENCE_SECONDS

from .store_values import START, MakeStore


def suppressed(
    address: str, cause: Cause = Cause.BOUNCED, second: float = 0, message_id: str | None = "m1"
) -> SuppressedAddress:
    return SuppressedAddress(address=address, cause=cause, at=START + timedelta(seconds=second), message_id=message_id)


def all_of(suppression: SuppressionList) -> list[SuppressedAddress]:
    return sorted(chain.from_iterable(suppression.pages()), key=lambda each: (each.address, each.cause))


def test_an_address_is_on_the_list_for_all_who_share_the_store(make_store: MakeStore) -> None:
    one, other = make_store().suppression, make_store().suppression
    assert other.find(["ann@example.com"]) == []
    assert one.add([suppressed("ann@example.com"), suppressed("bob@example.com", Cause.ADDED, message_id=None)]) == 2
    assert other.find(["bob@example.com", "cid@example.com"]) == [
        suppressed("bob@example.com", Cause.ADDED, message_id=None)
    ]
    assert all_of(other) == [
        suppressed("ann@example.com"),
        suppressed("bob@example.com", Cause.ADDED, message_id=None),
    ]


def test_an_address_is_there_once_for_each_cause_and_the_first_stays(store: DeliveryStore) -> None:
    suppression = store.suppression
    assert suppression.add([suppressed("ann@example.com")]) == 1
    again = [
        suppressed("ann@example.com", second=5, message_id="m2"),
        suppressed("ann@example.com", Cause.COMPLAINED, second=6),
        suppressed("ann@example.com", Cause.COMPLAINED, second=7),
    ]
    assert suppression.add(again) == 1
    assert suppression.add(again) == 0
    assert all_of(suppression) == [
        suppressed("ann@example.com"),
        suppressed("ann@example.com", Cause.COMPLAINED, second=6),
    ]
    assert len(suppression.find(["ann@example.com", "ann@example.com"])) == 2


def test_what_is_removed_is_gone_whatever_its_cause_and_may_come_again(store: DeliveryStore) -> None:
    suppression = store.suppression
    suppression.add([suppressed("ann@example.com", cause) for cause in Cause])
    suppression.add([suppressed("bob@example.com")])
    assert suppression.remove(["ann@example.com", "nobody@example.com"]) == 3
    assert suppression.remove(["ann@example.com"]) == 0
    assert all_of(suppression) == [suppressed("bob@example.com")]
    assert suppression.add([suppressed("ann@example.com", second=9)]) == 1


def test_nothing_listed_or_asked_for_is_nothing(store: DeliveryStore) -> None:
    assert store.suppression.add([]) == 0
    assert store.suppression.find([]) == []
    assert store.suppression.remove([]) == 0
    assert all_of(store.suppression) == []


def test_an_address_is_neither_a_longer_nor_another_one(store: DeliveryStore) -> None:
    store.suppression.add([suppressed("ann@example.com")])
    others = ["ann@example.co", "ann@example.comm", "nn@example.com", "ann@xexample.com", "a%@example.com", "", "ann*"]
    assert store.suppression.find(others) == []
    assert store.suppression.remove(others) == 0


def test_odd_addresses_are_their_own(store: DeliveryStore) -> None:
    odd = ["a\\b@example.com", "o'ann@example.com", "a%b_c@example.com", '"a"@example.com', "ä@example.com", "a b@x"]
    entries = [suppressed(each, message_id=f"m {each}") for each in odd]
    assert store.suppression.add(entries) == len(odd)
    assert store.suppression.find(odd[1:2]) == entries[1:2]
    assert all_of(store.suppression) == sorted(entries, key=lambda each: each.address)
    assert store.suppression.remove(odd) == len(odd)


def test_more_addresses_than_a_statement_takes_are_one_call(store: DeliveryStore) -> None:
    entries = [suppressed(f"a{number}@example.com") for number in range(1300)]
    assert store.suppression.add(entries) == 1300
    assert store.suppression.add(entries) == 0
    assert len(store.suppression.find([f"a{number}@example.com" for number in range(600, 2000)])) == 700
    assert len(all_of(store.suppression)) == 1300
    assert store.suppression.remove([f"a{number}@example.com" for number in range(1299)]) == 1299
    assert all_of(store.suppression) == entries[1299:]


def test_of_many_who_list_one_address_at_once_one_is_the_first(make_store: MakeStore) -> None:
    added: list[int] = []
    start = threading.Barrier(4)

    def add(number: int) -> Callable[[], None]:
        suppression = make_store().suppression

        def run() -> None:
            start.wait(PATIENCE_SECONDS)
            added.append(suppression.add([suppressed("ann@example.com", second=number)]))

        return run

    threads = [threading.Thread(target=add(number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(added) == 4
    assert len(all_of(make_store().suppression)) == 1


def test_the_list_is_no_record_that_expires_or_is_erased_with_others(store: DeliveryStore) -> None:
    store.suppression.add([suppressed("ann@example.com")])
    store.prune(now=START + timedelta(days=4000))
    assert all_of(store.suppression) == [suppressed("ann@example.com")]
