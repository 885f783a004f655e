"""The claims of a run are renewed while its handlers run, and only as long as they are its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched, Recorded
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import AS_USUAL, Recording, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.claims import ClaimKeeper
from celery_mailproxy.errors import StoreError
from tests.harness.waiting import wait_until

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)


class Store(MemoryStore):
    """Counts the calls, and is away when it is told to be."""

    def __init__(self) -> None:
        self.now = NOW
        super().__init__(Retention(), clock=lambda: self.now)
        self.calls = 0
        self.is_away = False

    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        self.calls += 1
        if self.is_away:
            raise StoreError("away for a moment")
        return super().record(reports, claim=claim, how=how)

    def claimed_at(self, message_id: str) -> datetime | None:
        delivery = self.get(message_id)
        assert delivery is not None
        return delivery.history[0].claimed_at


def report(message_id: str) -> DeliveryReport:
    return DeliveryReport(kind=Kind.SENT, message_id=message_id, at=NOW)


REPORTS = [report("m1"), report("m2")]


@pytest.fixture
def store() -> Store:
    store = Store()
    store.register([Delivery(message_id=each.message_id, created_at=NOW, updated_at=NOW) for each in REPORTS])
    store.record(REPORTS, claim="c1")
    return store


def test_claims_are_renewed_until_their_reports_are_dispatched(store: Store) -> None:
    keeper = ClaimKeeper(store, claim_seconds=0.03)
    with keeper.keeping("c1", REPORTS) as held:
        store.now += timedelta(seconds=10)
        wait_until(lambda: store.claimed_at("m1") == store.claimed_at("m2") == store.now, "the renewal")
        held.let_go(REPORTS[0])
        store.mark_dispatched([Dispatched(message_id="m1", key=REPORTS[0].key)])
        store.now += timedelta(seconds=10)
        wait_until(lambda: store.claimed_at("m2") == store.now, "the renewal of the other")
        assert store.claimed_at("m1") is None


def test_the_thread_ends_with_the_last_run_and_begins_anew_with_the_next(store: Store) -> None:
    keeper = ClaimKeeper(store, claim_seconds=0.03)

    def is_alive() -> bool:
        return any(thread.name == "celery-mailproxy-claims" for thread in threading.enumerate())

    wait_until(lambda: not is_alive(), "the end of others' threads")
    for _ in range(2):
        with keeper.keeping("c1", REPORTS), keeper.keeping("c2", []):
            assert is_alive()
        wait_until(lambda: not is_alive(), "the end of the thread")


def test_a_store_that_is_away_is_asked_again(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    keeper = ClaimKeeper(store, claim_seconds=0.03)
    store.is_away = True
    with keeper.keeping("c1", REPORTS):
        wait_until(lambda: store.calls > 3, "some tries")
        store.is_away = False
        store.now += timedelta(seconds=10)
        wait_until(lambda: store.claimed_at("m1") == store.now, "the renewal")
    assert "could not be renewed: away for a moment" in caplog.text


def test_who_stood_still_looks_first_whether_it_still_holds_a_report(store: Store) -> None:
    moment = 0.0
    keeper = ClaimKeeper(store, monotonic=lambda: moment)
    with keeper.keeping("c1", REPORTS) as held:
        calls = store.calls
        assert held.holds(REPORTS[0])
        assert store.calls == calls
        moment += 100
        store.now += timedelta(seconds=100)
        store.record([REPORTS[0]], claim="c2")
        assert not held.holds(REPORTS[0])
        assert held.holds(REPORTS[1])
        moment += 100
        store.is_away = True
        with pytest.raises(StoreError):
            held.holds(REPORTS[1])
