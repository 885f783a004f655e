"""A mail to each recipient alone, in every store: its parent ends once, whoever tells the last member's end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.suspension import Step, Suspension, SuspensionState
from celery_mailproxy.dispatch.dispatcher import Dispatcher
from celery_mailproxy.dispatch.joining import Joiner
from celery_mailproxy.dispatch.notifying import Notifier
from tests.harness.waiting import PATIENCE_SECONDS

from .store_values import START, MakeStore, delivery, new_id, report

S = SuspensionState


class Resumed:
    """In place of the resumer: publishes nothing, and moves on like it."""

    def __init__(self, store: DeliveryStore) -> None:
        self.store = store
        self.number = 0

    def resume(self, delivery: Delivery) -> bool:
        if delivery.suspension is not None and delivery.suspension.state is S.REPORTED:
            self.number += self.store.advance(delivery.message_id, Step.PUBLISHED).is_allowed
        # The step is taken: nothing is left to be marked.
        return False


class Later:
    """In place of the postponer: what another run is dispatching is left to it."""

    def postpone(self, reports: Sequence[DeliveryReport], **options: Any) -> None:
        assert set(options) == {"countdown"}


def dispatcher(store: DeliveryStore) -> tuple[Dispatcher, Resumed]:
    resumed: Any = Resumed(store)
    app = Celery("joining", set_as_current=False)
    later: Any = Later()
    notifier = Notifier(app=app, resumer=resumed)
    return Dispatcher(app=app, store=store, notifier=notifier, postponer=later), resumed


def register(store: DeliveryStore, number: int, *, state: SuspensionState = S.WAITING) -> Delivery:
    message_id = new_id()
    suspension = Suspension(owner=message_id, since=START, state=state, message='{"n":"task"}')
    addresses = tuple(f"a{index}@example.com" for index in range(number))
    parent = delivery(message_id, members=addresses, suspension=suspension)
    members = [delivery(each, parent_id=message_id) for each in parent.member_ids]
    assert store.register([parent, *members]) == [parent, *members]
    return parent


def found(store: DeliveryStore, parent: Delivery) -> Delivery:
    kept = store.get(parent.message_id)
    assert kept is not None
    return kept


def test_the_parent_follows_its_members(store: DeliveryStore) -> None:
    parent = register(store, 230)
    tell, resumed = dispatcher(store)
    reports = [report(each) for each in parent.member_ids]
    tell.dispatch(reports[:229])
    assert found(store, parent) == parent
    tell.dispatch([report(parent.member_ids[229], Kind.ERROR, reason="550 no")])
    assert resumed.number == 1
    ended = found(store, parent)
    assert ended.members == parent.members
    assert ended.suspension is not None
    assert ended.suspension.state is S.PUBLISHED
    joined = Joiner(store).joined(ended)
    assert (len(joined["sent"]), joined["error"]) == (229, {"a229@example.com": "550 no"})
    # All of it once more, and all of it by somebody else.
    tell.dispatch(reports)
    tell.dispatch(reports)
    assert resumed.number == 1


def test_an_end_before_the_submission_is_marked_is_early(store: DeliveryStore) -> None:
    parent = register(store, 2, state=S.NEW)
    tell, resumed = dispatcher(store)
    tell.dispatch([report(each) for each in parent.member_ids])
    moved = store.advance(parent.message_id, Step.SUBMITTED, token=parent.message_id)
    assert moved.delivery is not None
    assert moved.delivery.suspension is not None
    assert (moved.delivery.suspension.state, resumed.number) == (S.RUNNING, 0)
    assert moved.delivery.members == parent.members


@pytest.mark.parametrize("members", [2, 5])
def test_of_those_who_tell_the_last_ends_at_once_one_ends_the_parent(make_store: MakeStore, members: int) -> None:
    stores = [make_store() for _ in range(members)]
    for _ in range(15):
        parent = register(stores[0], members)
        start = threading.Barrier(members)
        tellers = [dispatcher(store) for store in stores]

        def tell(number: int, parent: Delivery = parent, start: Any = start, tellers: Sequence[Any] = tellers) -> None:
            start.wait(PATIENCE_SECONDS)
            tellers[number][0].dispatch([report(parent.member_ids[number], second=number)])

        threads = [threading.Thread(target=tell, args=(number,)) for number in range(members)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert sum(resumed.number for _, resumed in tellers) == 1
        ended = found(stores[0], parent)
        assert [entry.report.kind for entry in ended.history] == [Kind.SENT]
