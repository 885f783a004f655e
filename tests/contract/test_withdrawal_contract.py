"""One contract, every store: a mail is either submitted or withdrawn; see `deliveries.leaving`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.leaving import UNCLEAR, new_run
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import AS_USUAL
from celery_mailproxy.deliveries.suspension import Suspension
from tests.contract.store_values import START, Clock, MakeStore, delivery, new_id, report


def test_run_that_registers_a_mail_has_begun_to_submit_it(store: DeliveryStore) -> None:
    assert store.register([delivery("m", run="0a")])[0].run == "0a"
    (withdrawn,) = store.withdraw(["m"])
    assert (withdrawn.run, withdrawn.is_withdrawn) == ("0a", True)
    assert store.get("m") == withdrawn


def test_run_that_comes_second_finds_the_mail_withdrawn(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    (withdrawn,) = store.withdraw(["m"])
    assert withdrawn.run == ""
    (kept,) = store.register([delivery("m", run="0a")])
    assert (kept.run, kept.is_withdrawn) == ("", True)


def test_unknown_mail_is_withdrawn_for_whoever_registers_it(store: DeliveryStore) -> None:
    (tombstone,) = store.withdraw(["m"])
    assert (tombstone.is_known, tombstone.status, tombstone.history) == (False, Status.NEW, ())
    (kept,) = store.register(
        [delivery("m", run="0a", account_id="main", callbacks={"error": [{"task": "shop.sorry"}]})]
    )
    assert (kept.is_known, kept.is_withdrawn, kept.run) == (True, True, "")
    assert (kept.account_id, kept.callbacks) == ("main", {"error": [{"task": "shop.sorry"}]})
    assert store.get("m") == kept


def test_result_joins_a_mail_that_is_withdrawn(store: DeliveryStore) -> None:
    store.withdraw(["m"])
    suspension = Suspension(owner="task-1", since=START, message="{}")
    (joined,) = store.register([delivery("m", is_known=False, suspension=suspension, task_id="task-1")])
    assert (joined.is_withdrawn, joined.suspension) == (True, suspension)
    (kept,) = store.register([delivery("m", run="0a")])
    assert (kept.is_known, kept.is_withdrawn, kept.run, kept.suspension) == (True, True, "", suspension)


def test_what_did_not_reach_the_proxy_is_taken_back(store: DeliveryStore) -> None:
    store.register([delivery("m", run="0a"), delivery("n", run="0a")])
    store.take_back(["m", "nobody"], "0a")
    assert [each and each.run for each in store.get_many(["m", "n", "nobody"])] == ["", "0a", None]
    assert store.register([delivery("m", run="0b")])[0].run == "0b"


def test_what_is_withdrawn_meanwhile_stays_so_when_it_is_taken_back(store: DeliveryStore) -> None:
    store.register([delivery("m", run="0a")])
    store.withdraw(["m"])
    store.take_back(["m"], "0a")
    kept = store.get("m")
    assert kept is not None
    assert (kept.run, kept.is_withdrawn) == ("", True)


def test_of_several_runs_none_takes_a_mail_back(store: DeliveryStore) -> None:
    store.register([delivery("m", run="0a")])
    assert store.register([delivery("m", run="0b")])[0].run == UNCLEAR
    store.take_back(["m"], "0a")
    store.take_back(["m"], "0b")
    kept = store.get("m")
    assert kept is not None
    assert kept.run == UNCLEAR


def test_run_may_register_a_mail_twice(store: DeliveryStore) -> None:
    for _ in range(2):
        assert store.register([delivery("m", run="0a")])[0].run == "0a"


def test_mail_that_the_proxy_has_is_begun_by_nobody(store: DeliveryStore) -> None:
    store.register([delivery("m", run="0a")])
    store.record([report("m", Kind.QUEUED)], claim="task-1", how=AS_USUAL)
    assert store.register([delivery("m", run="0b")])[0].run == "0a"


def test_reports_leave_a_withdrawal_as_it_is(store: DeliveryStore) -> None:
    store.register([delivery("m", run="0a")])
    store.withdraw(["m"])
    (recorded,) = store.record([report("m", Kind.DEFERRED)], claim="task-1", how=AS_USUAL)
    assert recorded.delivery is not None
    assert (recorded.delivery.run, recorded.delivery.is_withdrawn) == ("0a", True)
    assert store.get("m") == recorded.delivery


def test_several_are_withdrawn_in_the_order_they_are_asked_for(store: DeliveryStore) -> None:
    store.register([delivery("m"), delivery("n")])
    assert [each.message_id for each in store.withdraw(["n", "nobody", "m", "n"])] == ["n", "nobody", "m", "n"]
    assert store.withdraw([]) == []
    store.take_back([], "0a")


def test_tombstone_is_forgotten_in_time(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    store.withdraw(["m"])
    clock.advance(1001)
    # Redis forgets by its own clock.
    assert "redis" in repr(store).lower() or store.prune() == 1


def test_either_the_run_or_the_withdrawal_comes_first(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(2)]
    message_ids = [new_id() for _ in range(40)]
    barrier = threading.Barrier(2, timeout=60)

    def begin(message_id: str) -> bool:
        """Whether a run may submit it."""
        barrier.wait()
        (kept,) = stores[0].register([delivery(message_id, run=new_run())])
        return not kept.is_withdrawn

    def withdraw(message_id: str) -> bool:
        """Whether no run will."""
        barrier.wait()
        (kept,) = stores[1].withdraw([message_id])
        return not kept.run

    with ThreadPoolExecutor(2) as threads:
        begun, promised = threads.map(lambda call: list(map(call, message_ids)), (begin, withdraw))
    assert [may and never for may, never in zip(begun, promised, strict=True)] == [False] * len(message_ids)
    assert [may or never for may, never in zip(begun, promised, strict=True)] == [True] * len(message_ids)
