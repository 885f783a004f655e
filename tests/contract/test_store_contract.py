"""One contract, every store: see `stores.base.DeliveryStore`."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_mailproxy.deliveries.delivery import Delivery, Status, undispatched_entries
from celery_mailproxy.deliveries.leaving import taken_back, tombstone, withdrawn
from celery_mailproxy.deliveries.recording import (
    Dispatched,
    Verdict,
    adopt_orphan,
    is_anothers_orphan,
    mark_dispatched,
    merge_registration,
    record_report,
)
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.stores.redis.store import RedisStore
from celery_mailproxy.deliveries.transitions import ONCE, TRANSITIONS
from celery_mailproxy.errors import StoreError
from tests.contract.store_values import RETENTION, START, Clock, MakeStore, delivery, new_id, report, sent_entry
from tests.harness.waiting import wait_until


def verdicts(store: DeliveryStore, *reports: DeliveryReport, claim: str = "task-1", **options: Any) -> list[str]:
    return [recorded.verdict.value for recorded in store.record(reports, claim=claim, how=Recording(**options))]


def status_of(store: DeliveryStore, message_id: str) -> Status:
    found = store.get(message_id)
    assert found is not None
    return found.status


# --- registering


def test_registered_delivery_comes_back_whole(store: DeliveryStore) -> None:
    given_ = delivery(
        "m",
        callbacks={"sent": [{"task": "shop.paid", "args": [7], "kwargs": {}, "options": {"queue": "q"}}]},
        tenant_id="t1",
        account_id="main",
        server="marketing",
        batch_code="b-1",
        task_id="task-9",
        metadata={"order": 7, "notes": ["für Jané", None, 0.5]},
        tags=("receipt", "vip 👋"),
        expires_at=START + timedelta(hours=1),
        summary={"subject": "Grüße 👋", "recipients": 2},
    )
    assert store.register([given_]) == [given_]
    assert store.get("m") == given_


def test_unknown_delivery_is_none(store: DeliveryStore) -> None:
    assert store.get("nobody") is None


def test_several_are_answered_in_the_order_they_are_asked_for(store: DeliveryStore) -> None:
    registered = [delivery(f"m-{number}", parent_id="m") for number in range(3)]
    store.register([delivery("m", members=("ann@example.com", "bob@example.com", "zoë@example.com")), *registered])
    ids = ["m-2", "nobody", "m-0", "m-2", "m"]
    assert store.get_many(ids) == [store.get(message_id) for message_id in ids]
    assert store.get_many(ids)[1] is None
    assert store.get_many([]) == []
    assert store.get("m").member_ids == ("m-0", "m-1", "m-2")  # type: ignore[union-attr]


def test_first_registration_wins(store: DeliveryStore) -> None:
    first, second = delivery("m", account_id="first"), delivery("m", account_id="second")
    store.register([first])
    assert store.register([second, delivery("other")]) == [first, delivery("other")]
    assert store.get("m") == first


def test_registration_twice_in_one_call_keeps_the_first(store: DeliveryStore) -> None:
    first, second = delivery("m", account_id="first"), delivery("m", account_id="second")
    assert store.register([first, second]) == [first, first]


def test_registration_completes_a_delivery_that_only_reports_were_known_of(store: DeliveryStore) -> None:
    verdicts(store, report("m", Kind.DEFERRED, reason="later"), adopt=True)
    (kept,) = store.register([delivery("m", callbacks={"sent": [{"task": "paid"}]}, account_id="main")])
    assert kept.is_known
    assert kept.status is Status.DEFERRED
    assert kept.reason == "later"
    assert kept.callbacks == {"sent": [{"task": "paid"}]}
    assert store.get("m") == kept


def test_answer_to_the_submission_is_news_after_an_adopted_event(store: DeliveryStore) -> None:
    verdicts(store, report("m", Kind.PEC, pec_event="acceptance"), adopt=True)
    store.register([delivery("m")])
    assert verdicts(store, report("m", Kind.QUEUED)) == ["new"]


def test_registration_drops_what_another_tenant_reported(store: DeliveryStore) -> None:
    verdicts(store, report("m", Kind.ERROR, tenant_id="thief"), adopt=True)
    mine = delivery("m", tenant_id="mine")
    assert store.register([mine]) == [mine]
    assert store.get("m") == mine
    assert verdicts(store, report("m", tenant_id="mine")) == ["new"]


def test_nothing_at_all_is_fine(store: DeliveryStore) -> None:
    assert store.register([]) == []
    assert store.record([], claim="task-1") == []
    store.mark_dispatched([])


# --- recording


def all_steps() -> list[tuple[Status, Kind]]:
    return list(itertools.product(Status, Kind))


def test_every_step_of_the_table(store: DeliveryStore) -> None:
    for status, kind in all_steps():
        message_id = f"{status}-{kind}"
        store.register([delivery(message_id, status=status)])
        (recorded,) = store.record([report(message_id, kind)], claim="task-1")
        expected = TRANSITIONS[status].get(kind)
        assert recorded.verdict is (Verdict.STALE if expected is None else Verdict.NEW), message_id
        assert recorded.delivery is not None
        assert recorded.delivery.status is (status if expected is None else expected), message_id
        assert recorded.delivery == store.get(message_id)


def test_stale_report_is_kept_in_the_history(store: DeliveryStore) -> None:
    store.register([delivery("m", status=Status.SENT)])
    assert verdicts(store, report("m", Kind.DEFERRED, reason="slow")) == ["stale"]
    found = store.get("m")
    assert found is not None
    assert found.status is Status.SENT
    (entry,) = found.history
    assert entry.is_stale
    assert entry.report.reason == "slow"
    assert verdicts(store, report("m", Kind.DEFERRED)) == ["duplicate"]


@pytest.mark.parametrize("kind", sorted(ONCE))
def test_kind_that_is_news_once_is_stale_the_second_time(store: DeliveryStore, kind: Kind) -> None:
    store.register([delivery("m", status=Status.BOUNCED)])
    assert verdicts(store, report("m", kind, 1), report("m", kind, 2)) == ["new", "stale"]


def test_reports_of_one_message_apply_in_the_order_given(store: DeliveryStore) -> None:
    store.register([delivery("m"), delivery("n")])
    answers = store.record(
        [
            report("m", Kind.DEFERRED, 1),
            report("n", Kind.SENT, 2),
            report("m", Kind.SENT, 3),
            report("m", Kind.ERROR, 4),
        ],
        claim="task-1",
    )
    assert [a.verdict.value for a in answers] == ["new", "new", "new", "stale"]
    assert [a.report.message_id for a in answers] == ["m", "n", "m", "m"]
    # Each answer shows the delivery as it stood at the end of the call.
    assert answers[0].delivery == answers[3].delivery == store.get("m")
    assert answers[1].delivery == store.get("n")


def test_report_of_an_unknown_message_changes_nothing(store: DeliveryStore) -> None:
    (recorded,) = store.record([report("m")], claim="task-1")
    assert (recorded.verdict, recorded.delivery) == (Verdict.UNKNOWN, None)
    assert store.get("m") is None


def test_adopted_report_is_dispatched_once(store: DeliveryStore) -> None:
    assert verdicts(store, report("m", tenant_id="t1"), claim="task-1", adopt=True) == ["new"]
    assert verdicts(store, report("m", tenant_id="t1"), claim="task-2", adopt=True) == ["held"]
    found = store.get("m")
    assert found is not None
    assert (found.is_known, found.tenant_id, found.status) == (False, "t1", Status.SENT)


def test_report_of_another_tenant_changes_nothing(store: DeliveryStore) -> None:
    mine = delivery("m", tenant_id="mine")
    store.register([mine])
    assert verdicts(store, report("m", tenant_id="other")) == ["foreign"]
    assert store.get("m") == mine
    assert verdicts(store, report("m", tenant_id="mine")) == ["new"]


def test_tenants_report_of_a_mail_without_a_tenant_changes_nothing(store: DeliveryStore) -> None:
    store.register([delivery("m", tenant_id=None)])
    before = store.get("m")
    assert verdicts(store, report("m", tenant_id="other")) == ["foreign"]
    assert store.get("m") == before
    assert verdicts(store, report("m")) == ["new"]


@pytest.mark.parametrize("tenant_id", ["mine", None])
def test_tenants_report_of_a_future_id_ends_no_mail_of_others(store: DeliveryStore, tenant_id: str | None) -> None:
    assert verdicts(store, report("m", Kind.ERROR, tenant_id="other"), adopt=True) == ["new"]
    (kept,) = store.register([delivery("m", tenant_id=tenant_id)])
    assert (kept.status, kept.history, kept.tenant_id) == (Status.NEW, (), tenant_id)
    assert store.get("m") == kept


def test_tenants_report_is_not_lost_to_another_tenants_of_the_same_id(store: DeliveryStore) -> None:
    assert verdicts(store, report("m", tenant_id="other"), adopt=True) == ["new"]
    # As if nothing were known: it is parked, and adopted later.
    (unknown,) = store.record([report("m", tenant_id="mine")], claim="task-1")
    assert (unknown.verdict, unknown.delivery) == (Verdict.UNKNOWN, None)
    assert verdicts(store, report("m", tenant_id="mine"), adopt=True) == ["new"]
    found = store.get("m")
    assert found is not None
    assert (found.tenant_id, [entry.report.tenant_id for entry in found.history]) == ("mine", ["mine"])
    (kept,) = store.register([delivery("m", tenant_id="mine")])
    assert kept.status is Status.SENT


def test_report_without_tenant_counts(store: DeliveryStore) -> None:
    store.register([delivery("m", tenant_id="mine")])
    assert verdicts(store, report("m")) == ["new"]


# --- claims


def claimed_at(store: DeliveryStore, message_id: str) -> datetime | None:
    found = store.get(message_id)
    assert found is not None
    return found.history[0].claimed_at


def test_same_claim_goes_on_and_another_has_to_come_back(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    assert verdicts(store, report("m"), claim="run-1") == ["new"]
    assert verdicts(store, report("m"), claim="run-1") == ["new"]
    assert verdicts(store, report("m"), claim="run-2") == ["held"]


def test_silent_claim_is_taken_over(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1")
    clock.advance(60)
    assert verdicts(store, report("m"), claim="run-2") == ["held"]
    clock.advance(0.000001)
    assert verdicts(store, report("m"), claim="run-2") == ["again"]
    assert verdicts(store, report("m"), claim="run-1") == ["held"]
    assert claimed_at(store, "m") == clock.now
    found = store.get("m")
    assert found is not None
    assert found.updated_at == START


def test_claim_that_is_renewed_is_not_taken_over(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1")
    for _ in range(3):
        clock.advance(50)
        assert verdicts(store, report("m"), claim="run-1") == ["new"]
        assert claimed_at(store, "m") == clock.now
        assert verdicts(store, report("m"), claim="run-2") == ["held"]


def test_claim_of_a_run_that_has_ended_passes_to_one_run(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1")
    assert verdicts(store, report("m"), claim="run-2", after="run-1") == ["new"]
    # A copy of the same message, or the run that was taken for ended.
    assert verdicts(store, report("m"), claim="run-3", after="run-1") == ["held"]
    assert verdicts(store, report("m"), claim="run-1") == ["held"]


def test_claim_is_held_ahead_and_let_go_of(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1", hold_seconds=100.0)
    assert claimed_at(store, "m") == START + timedelta(seconds=100)
    clock.advance(159)
    assert verdicts(store, report("m"), claim="run-2") == ["held"]
    assert verdicts(store, report("m"), claim="run-1", hold_seconds=-61.0) == ["new"]
    assert verdicts(store, report("m"), claim="run-2") == ["again"]


# --- what nobody has dispatched


def stranded(store: DeliveryStore, clock: Clock, **options: Any) -> set[str]:
    """The ids of what has not been renewed for a minute."""
    before = clock.now - timedelta(seconds=60)
    found = store.undispatched(before=before, **options)
    assert all(list(undispatched_entries(each, before=before)) for each in found)
    assert found == store.get_many([each.message_id for each in found])
    return {each.message_id for each in found}


def test_reports_whose_run_is_gone_are_listed(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery(each) for each in ("m", "n", "waiting", "settled", "late")])
    verdicts(store, report("m"), report("n"), report("orphan"), adopt=True)
    verdicts(store, report("settled"), is_settled=True)
    assert stranded(store, clock) == set()
    clock.advance(61)
    verdicts(store, report("late"))
    assert stranded(store, clock) == {"m", "n", "orphan"}
    assert len(stranded(store, clock, limit=2)) == 2
    # Whoever takes them over has a minute, too.
    assert verdicts(store, report("m"), claim="run-2") == ["again"]
    assert stranded(store, clock) == {"n", "orphan"}
    store.mark_dispatched([Dispatched(message_id=each, key=report(each).key) for each in ("m", "n", "orphan")])
    clock.advance(61)
    assert stranded(store, clock) == {"late"}


def test_two_reports_of_one_message_are_listed_until_both_are_dispatched(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    first, second = report("m", Kind.DEFERRED, 1), report("m", Kind.SENT, 2)
    verdicts(store, first, second)
    clock.advance(61)
    for each in (first, second):
        assert stranded(store, clock) == {"m"}
        store.mark_dispatched([Dispatched(message_id="m", key=each.key)])
    assert stranded(store, clock) == set()


def test_report_that_is_no_news_is_not_listed(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m", status=Status.SENT), delivery("n", tenant_id="mine")])
    verdicts(store, report("m", Kind.DEFERRED), report("unknown"), report("n", tenant_id="other"))
    verdicts(store, report("m", Kind.ERROR, 1), only_new=True)
    clock.advance(61)
    assert stranded(store, clock) == set()


def test_report_that_was_unknown_at_first_is_listed(store: DeliveryStore, clock: Clock) -> None:
    verdicts(store, report("m"))
    clock.advance(61)
    assert stranded(store, clock) == set()
    verdicts(store, report("m"), adopt=True)
    clock.advance(61)
    assert stranded(store, clock) == {"m"}


def test_claim_that_was_renewed_is_listed_once_it_is_silent(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1")
    for _ in range(3):
        clock.advance(40)
        verdicts(store, report("m"), claim="run-1")
        assert stranded(store, clock) == set()
    clock.advance(61)
    assert stranded(store, clock) == {"m"}


@pytest.mark.parametrize("is_settled", [False, True])
def test_claim_that_is_let_go_of_is_listed_at_once(store: DeliveryStore, clock: Clock, is_settled: bool) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="run-1")
    assert stranded(store, clock) == set()
    verdicts(store, report("m"), claim="run-1", hold_seconds=-70.0, is_settled=is_settled)
    assert stranded(store, clock) == {"m"}


def test_many_silent_claims_are_listed_and_taken_over_bit_by_bit(store: DeliveryStore, clock: Clock) -> None:
    ids = [f"m-{number}" for number in range(1200)]
    store.register([delivery(each) for each in ids])
    verdicts(store, *(report(each) for each in ids))
    clock.advance(61)
    assert stranded(store, clock, limit=2000) == set(ids)
    seen: set[str] = set()
    while found := stranded(store, clock, limit=500):
        assert not found & seen
        seen |= found
        verdicts(store, *(report(each) for each in found), claim="sweep")
    assert seen == set(ids)


def test_dispatched_report_is_a_duplicate_for_everybody(store: DeliveryStore, clock: Clock) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"), claim="task-1")
    store.mark_dispatched([Dispatched(message_id="m", key=report("m").key)])
    clock.advance(3600)
    assert verdicts(store, report("m"), claim="task-1") == ["duplicate"]
    assert verdicts(store, report("m"), claim="task-2") == ["duplicate"]


def test_settled_report_counts_as_dispatched(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    assert verdicts(store, report("m"), claim="task-1", is_settled=True) == ["new"]
    assert verdicts(store, report("m"), claim="task-1") == ["duplicate"]
    found = store.get("m")
    assert found is not None
    assert found.history[0].is_dispatched


# --- what handlers made of it


def test_failed_handlers_are_kept_and_listed(store: DeliveryStore) -> None:
    store.register([delivery("m"), delivery("n")])
    verdicts(store, report("m"), report("n"))
    key = report("m").key
    store.mark_dispatched(
        [
            Dispatched(message_id="m", key=key, failed=("shop.paid", "shop.tell")),
            Dispatched(message_id="n", key=key),
        ]
    )
    assert store.failed() == ["m"]
    found = store.get("m")
    assert found is not None
    assert found.history[0].failed == ("shop.paid", "shop.tell")

    store.mark_dispatched([Dispatched(message_id="m", key=key, failed=("shop.tell",))])
    assert store.failed() == ["m"]
    store.mark_dispatched([Dispatched(message_id="m", key=key)])
    assert store.failed() == []
    found = store.get("m")
    assert found is not None
    assert (found.history[0].is_dispatched, found.history[0].failed) == (True, ())


def test_unknown_ones_are_passed_over(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    gone = [Dispatched(message_id=each, key="sent:1", failed=("x",)) for each in ("m", "nobody")]
    store.mark_dispatched(gone)
    assert store.failed() == []
    assert store.get("m") == delivery("m")


def test_failed_lists_no_more_than_its_limit(store: DeliveryStore) -> None:
    names = [f"m-{number}" for number in range(30)]
    store.register([delivery(name) for name in names])
    verdicts(store, *(report(name) for name in names))
    store.mark_dispatched([Dispatched(message_id=n, key=report(n).key, failed=("x",)) for n in names])
    assert len(set(store.failed(limit=7))) == 7
    assert set(store.failed()) == set(names)


# --- keeping and forgetting


def test_only_expired_deliveries_are_forgotten(make_store: MakeStore, clock: Clock) -> None:
    store = make_store()
    if isinstance(store, RedisStore):
        pytest.skip("Redis forgets by its own clock: see test_redis_forgets_by_itself")
    store.register([delivery("pending"), *(delivery(f"ended-{n}") for n in range(5))])
    verdicts(store, *(report(f"ended-{n}") for n in range(5)))
    verdicts(store, report("orphan", Kind.DEFERRED), adopt=True)
    clock.advance(999)
    assert store.prune() == 0
    clock.advance(1)
    assert store.prune(limit=2) == 2
    assert store.prune() == 4
    assert store.get("pending") is not None
    assert store.get("orphan") is None
    assert store.prune(now=START + timedelta(days=30)) == 0
    assert store.prune(now=START + timedelta(days=30, seconds=1000)) == 1
    assert store.get("pending") is None


def test_redis_forgets_by_itself(redis_server: Any, clock: Clock) -> None:
    store = RedisStore(redis_server.url, RETENTION, clock=clock, key_prefix=f"{new_id()}:")
    with redis_server.client() as client:

        def seconds_left(message_id: str) -> int:
            return int(client.ttl(store._key(message_id)))

        store.register([delivery("m"), delivery("old", status=Status.SENT, updated_at=START - timedelta(days=9))])
        assert seconds_left("m") == pytest.approx(30 * 86400 + 1000, abs=5)
        # What has expired already is kept for the shortest time that Redis knows, 1 ms.
        wait_until(lambda: store.get("old") is None, "the end of what has expired")
        verdicts(store, report("m"))
        assert seconds_left("m") == pytest.approx(1000, abs=5)
        client.expire(store._key("m"), 500)
        store.mark_dispatched([Dispatched(message_id="m", key=report("m").key)])
        assert seconds_left("m") == pytest.approx(500, abs=5)
        verdicts(store, report("orphan", Kind.DEFERRED), adopt=True)
        assert seconds_left("orphan") == pytest.approx(1000, abs=5)
        assert store.prune() == 0
    store.close()


def test_failed_forgets_what_has_expired(store: DeliveryStore, clock: Clock, request: pytest.FixtureRequest) -> None:
    store.register([delivery("m")])
    verdicts(store, report("m"))
    store.mark_dispatched([Dispatched(message_id="m", key=report("m").key, failed=("x",))])
    if isinstance(store, RedisStore):
        with request.getfixturevalue("redis_server").client() as client:
            client.delete(store._key("m"))
            assert store.failed() == []
            assert client.exists(store._failing.key) == 0
    clock.advance(1000)
    store.prune()
    assert store.failed() == []


def test_store_can_be_used_again_after_close(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    store.close()
    store.close()
    assert store.get("m") == delivery("m")


def test_two_stores_of_one_url_see_the_same(make_store: MakeStore) -> None:
    one, other = make_store(), make_store()
    one.register([delivery("m")])
    assert verdicts(other, report("m")) == ["new"]
    assert status_of(one, "m") is Status.SENT


def test_check_names_the_store(store: DeliveryStore) -> None:
    assert store.check()
    assert store.get("") is None


def test_what_json_cannot_express_is_refused_and_nothing_is_written(store: DeliveryStore) -> None:
    with pytest.raises(StoreError, match="must be JSON-able"):
        store.register([delivery("m"), delivery("n", callbacks={"sent": [{"args": [object()]}]})])
    assert store.get("m") is None


# --- odd contents


@pytest.mark.parametrize(
    "message_id",
    [
        "{}",
        "a}b{c",
        "a:b",
        "a b",
        "failed",
        "check",
        "<m@example.com>",
        "%s",
        "'--",
        "\\",
        "é漢👋",
        "\ud800",
        "x" * 255,
    ],
)
def test_odd_message_ids(store: DeliveryStore, message_id: str) -> None:
    store.register([delivery(message_id)])
    assert verdicts(store, report(message_id)) == ["new"]
    store.mark_dispatched([Dispatched(message_id=message_id, key=report(message_id).key, failed=("x",))])
    found = store.get(message_id)
    assert found is not None
    assert (found.message_id, found.status) == (message_id, Status.SENT)
    assert store.failed() == [message_id]


@pytest.mark.parametrize(
    "reason", ["é漢👋" * 600, 'a "quoted" \\ reason\r\n\t\0', "\ud800 half", "]]}\n[", "</script>"]
)
def test_odd_reasons_and_codes(store: DeliveryStore, reason: str) -> None:
    store.register([delivery("m", summary={"subject": reason})])
    odd = report(
        "m", Kind.BOUNCED, reason=reason, code=reason, raw={"id": "m", "x": [], "y": {}, "n": 12345678901234567890}
    )
    assert verdicts(store, odd) == ["new"]
    assert verdicts(store, odd, claim="task-2") == ["held"]
    store.mark_dispatched([Dispatched(message_id="m", key=odd.key, failed=(reason,))])
    found = store.get("m")
    assert found is not None
    assert found.history[0].report == odd
    assert found.history[0].failed == (reason,)
    assert found.summary == {"subject": reason}


# --- many at once


def test_twenty_threads_record_each_report_once(make_store: MakeStore) -> None:
    store = make_store()
    ids = [f"m-{number}" for number in range(200)]
    store.register([delivery(each) for each in ids])
    told: list[str] = []

    def work(number: int) -> None:
        for start in range(0, 200, 50):
            chunk = ids[start : start + 50]
            answers = store.record([sent_entry(each) for each in chunk], claim=f"task-{number}")
            told.extend(a.report.message_id for a in answers if a.verdict is Verdict.NEW)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(told) == Counter(ids)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [2500, pytest.param(10_000, marks=pytest.mark.full)])
def test_thousands_of_reports_in_one_call(store: DeliveryStore, number: int) -> None:
    ids = [f"m-{each}" for each in range(number)]
    store.register([delivery(each) for each in ids])
    answers = store.record([sent_entry(each) for each in ids], claim="task-1")
    assert Counter(answer.verdict for answer in answers) == {Verdict.NEW: number}
    assert [answer.report.message_id for answer in answers] == ids
    store.mark_dispatched([Dispatched(message_id=a.report.message_id, key=a.report.key) for a in answers])
    assert verdicts(store, sent_entry(ids[-1]), claim="task-2") == ["duplicate"]


def test_long_history_of_one_message(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    tries = [report("m", Kind.DEFERRED, second, reason="later" * 20) for second in range(300)]
    assert verdicts(store, *tries) == ["new"] * 300
    found = store.get("m")
    assert found is not None
    assert found.attempts == 300


# --- every store does what the pure functions say


class Model:
    """The pure functions over a dict."""

    def __init__(self) -> None:
        self.deliveries: dict[str, Delivery] = {}

    def register(self, registered: Delivery) -> Delivery:
        merged = merge_registration(self.deliveries.get(registered.message_id), registered)
        self.deliveries[registered.message_id] = merged
        return merged

    def record(self, clock: Clock, reported: DeliveryReport, claim: str, how: Recording) -> Verdict:
        existing = self.deliveries.get(reported.message_id)
        if existing is None or is_anothers_orphan(existing, reported):
            if not how.adopt:
                return Verdict.UNKNOWN
            existing = adopt_orphan(reported, now=clock.now)
        self.deliveries[reported.message_id], verdict = record_report(
            existing,
            reported,
            claim=claim,
            now=clock.now,
            claim_seconds=RETENTION.claim_seconds,
            after=how.after,
            hold_seconds=how.hold_seconds,
            is_settled=how.is_settled,
            only_new=how.only_new,
        )
        return verdict

    def withdraw(self, clock: Clock, message_id: str) -> Delivery:
        existing = self.deliveries.get(message_id) or tombstone(message_id, now=clock.now)
        self.deliveries[message_id] = withdrawn(existing)
        return self.deliveries[message_id]

    def take_back(self, message_id: str, run: str) -> None:
        if message_id in self.deliveries:
            self.deliveries[message_id] = taken_back(self.deliveries[message_id], run)

    def stranded(self, before: datetime) -> set[str]:
        return {each.message_id for each in self.deliveries.values() if [*undispatched_entries(each, before=before)]}

    def due(self, now: datetime) -> set[str]:
        moments = {each.message_id: RETENTION.due_at(each) for each in self.deliveries.values()}
        return {message_id for message_id, due_at in moments.items() if due_at is not None and due_at < now}

    def mark_dispatched(self, clock: Clock, told: Dispatched) -> None:
        if told.message_id in self.deliveries:
            self.deliveries[told.message_id] = mark_dispatched(self.deliveries[told.message_id], told, now=clock.now)


NAMES = ("m", "n")
RUNS = ("0a1b2c3d", "4e5f6a7b")
tenants = st.sampled_from([None, "", "t1", "t2"])
some_reports = st.builds(
    report,
    st.sampled_from(NAMES),
    st.sampled_from(Kind),
    st.integers(0, 2),
    tenant_id=tenants,
    reason=st.sampled_from([None, "why"]),
)
registrations = st.tuples(
    st.just("register"),
    st.lists(
        st.builds(
            delivery,
            st.sampled_from(NAMES),
            tenant_id=tenants,
            is_known=st.sampled_from([True, True, False]),
            run=st.sampled_from(["", *RUNS]),
        ),
        max_size=3,
    ),
)
recordings = st.tuples(
    st.just("record"),
    st.lists(some_reports, max_size=5),
    st.sampled_from(["task-1", "task-2", "m"]),
    st.builds(
        Recording,
        adopt=st.booleans(),
        is_settled=st.sampled_from([False, False, True]),
        only_new=st.sampled_from([False, False, True]),
        after=st.sampled_from([None, None, "task-1", "m"]),
        hold_seconds=st.sampled_from([0.0, 0.0, 5.5, -70.0]),
    ).filter(lambda how: not (how.adopt and how.only_new)),
)
marks = st.tuples(
    st.just("mark"),
    st.lists(st.tuples(some_reports, st.lists(st.sampled_from(["f", "g", "h"]), max_size=3)), max_size=3),
)
withdrawals = st.tuples(st.just("withdraw"), st.sampled_from(NAMES))
retreats = st.tuples(st.just("take back"), st.sampled_from(NAMES), st.sampled_from(RUNS))
# Together they stay below RETENTION.ttl_seconds: Redis would forget.
ticks = st.tuples(st.just("tick"), st.sampled_from([1.0, 59.0, 61.5]))
steps = st.lists(st.one_of(registrations, recordings, recordings, marks, withdrawals, retreats, ticks), max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_any_sequence_gives_what_the_pure_functions_give(store: DeliveryStore, clock: Clock, steps: list[Any]) -> None:
    run = new_id()
    model = Model()
    clock.now = START
    for name, *arguments in steps:
        if name == "tick":
            clock.advance(arguments[0])
        elif name == "register":
            registered = [renamed(each, run) for each in arguments[0]]
            assert store.register(registered) == [model.register(each) for each in registered]
        elif name == "withdraw":
            message_id = run + arguments[0]
            assert store.withdraw([message_id]) == [model.withdraw(clock, message_id)]
        elif name == "take back":
            store.take_back([run + arguments[0]], arguments[1])
            model.take_back(run + arguments[0], arguments[1])
        elif name == "mark":
            told = [
                Dispatched(message_id=run + each.message_id, key=each.key, failed=tuple(failed))
                for each, failed in arguments[0]
            ]
            store.mark_dispatched(told)
            for each in told:
                model.mark_dispatched(clock, each)
        else:
            reported = [renamed(each, run) for each in arguments[0]]
            claim, how = arguments[1:]
            answers = store.record(reported, claim=claim, how=how)
            expected = [model.record(clock, each, claim, how) for each in reported]
            assert [answer.verdict for answer in answers] == expected
            assert [answer.delivery for answer in answers] == [
                None if verdict is Verdict.UNKNOWN else model.deliveries.get(each.message_id)
                for each, verdict in zip(reported, expected, strict=True)
            ]
        assert [store.get(run + each) for each in NAMES] == [model.deliveries.get(run + each) for each in NAMES]
        before = clock.now - timedelta(seconds=60)
        listed = {each.message_id for each in store.undispatched(before=before, limit=10_000)}
        assert listed & {run + each for each in NAMES} == model.stranded(before)
        due = {each.message_id for each in store.due(now=clock.now, limit=10_000)}
        assert due & {run + each for each in NAMES} == model.due(clock.now)


def renamed(value: Any, run: str) -> Any:
    return replace(value, message_id=run + value.message_id)
