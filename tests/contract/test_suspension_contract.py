"""The suspended result of a message, in every store: any sequence of steps gives what the pure functions give."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import Dispatched, Verdict, mark_dispatched, record_report
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.suspension import NEW_PATIENCE, STEPS, Step, Suspension, SuspensionState, advance

from .store_values import RETENTION, START, Clock, delivery, new_id, report

S = SuspensionState

QUEUED = report("", Kind.QUEUED)


def suspended(message_id: str, **fields: Any) -> Any:
    suspension = Suspension(owner="task", since=START, message='{"n":"task","b":"line \\\\n break, ünïcode"}', **fields)
    return replace(delivery(message_id), task_id="task", suspension=suspension)


def joining(message_id: str) -> Any:
    """What a task registers whose mail is submitted by another task."""
    return replace(suspended(message_id), is_known=False)


def state(store: DeliveryStore, message_id: str) -> SuspensionState:
    found = store.get(message_id)
    assert found is not None
    assert found.suspension is not None
    return found.suspension.state


def test_a_suspended_result_goes_its_way(store: DeliveryStore) -> None:
    message_id = new_id()
    registered = suspended(message_id)
    store.register([registered])
    assert store.get(message_id) == registered
    assert store.advance(message_id, Step.SUBMITTED, token="task").is_allowed
    assert state(store, message_id) is S.WAITING
    (recorded,) = store.record([report(message_id, Kind.SENT)], claim="c")
    assert recorded.delivery is not None
    assert recorded.delivery.suspension is not None
    assert recorded.delivery.suspension.state is S.REPORTED
    assert recorded.delivery.suspension.message == registered.suspension.message
    assert store.advance(message_id, Step.PUBLISHED).is_allowed
    assert store.advance(message_id, Step.CLAIM, token="t1").is_allowed
    assert not store.advance(message_id, Step.CLAIM, token="t2").is_allowed
    assert store.advance(message_id, Step.CLAIM, token="t1").is_allowed
    assert not store.advance(message_id, Step.FINISH, token="t2").is_allowed
    assert store.advance(message_id, Step.FINISH, token="t1").is_allowed
    done = store.get(message_id)
    assert done is not None
    assert done.suspension is not None
    assert (done.suspension.state, done.suspension.message) == (S.DONE, None)


def test_an_early_end_is_taken_by_the_submitting_task(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([suspended(message_id)])
    store.record([report(message_id, Kind.ERROR)], claim="c")
    assert state(store, message_id) is S.EARLY
    moved = store.advance(message_id, Step.SUBMITTED, token="task")
    assert moved.is_allowed
    assert moved.delivery is not None
    assert moved.delivery.suspension is not None
    assert (moved.delivery.suspension.state, moved.delivery.suspension.token) == (S.RUNNING, "task")
    assert moved.delivery.outcome is not None


def test_reports_seen_before_the_registration_end_it_early(store: DeliveryStore) -> None:
    message_id = new_id()
    store.record([report(message_id, Kind.SENT)], claim="c", how=Recording(adopt=True))
    (kept,) = store.register([suspended(message_id)])
    assert kept.suspension is not None
    assert kept.suspension.state is S.EARLY


def test_a_report_before_the_registration_is_lost_unless_it_is_parked(store: DeliveryStore) -> None:
    """Why the registration comes before the submission: a report inside the POST would find nobody to end."""
    message_id = new_id()
    (recorded,) = store.record([report(message_id, Kind.SENT)], claim="c")
    assert (recorded.verdict, recorded.delivery) == (Verdict.UNKNOWN, None)
    store.register([suspended(message_id)])
    store.advance(message_id, Step.SUBMITTED, token="task")
    # Nobody remembers the report: the result would wait for ever.
    assert state(store, message_id) is S.WAITING
    # Parked is what the dispatcher does with it: it comes again.
    store.record([report(message_id, Kind.SENT)], claim="c")
    assert state(store, message_id) is S.REPORTED


def test_a_restart_is_for_one_who_comes_after_the_lease(store: DeliveryStore, clock: Clock) -> None:
    message_id = new_id()
    store.register([suspended(message_id, state=S.RUNNING, token="t1")])
    assert not store.advance(message_id, Step.RESTART).is_allowed
    clock.advance(RETENTION.lease_seconds + 1)
    assert store.advance(message_id, Step.RESTART).is_allowed
    assert not store.advance(message_id, Step.RESTART).is_allowed
    assert not store.advance(message_id, Step.FINISH, token="t1").is_allowed
    assert store.advance(message_id, Step.CLAIM, token="t2").is_allowed


def test_a_state_in_between_is_written_only_before_the_end(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([suspended(message_id)])
    assert store.advance(message_id, Step.WRITE).is_allowed
    assert store.advance(message_id, Step.WRITE).is_allowed
    store.advance(message_id, Step.SUBMITTED, token="task")
    store.record([report(message_id, Kind.SENT)], claim="c")
    assert not store.advance(message_id, Step.WRITE).is_allowed
    kept = store.advance(message_id, Step.WRITTEN).delivery
    assert kept is not None
    assert kept.suspension is not None
    assert kept.suspension.writers == 1


def test_a_silent_runner_is_taken_over_after_the_lease(store: DeliveryStore, clock: Clock) -> None:
    message_id = new_id()
    store.register([suspended(message_id, state=S.PUBLISHED)])
    assert store.advance(message_id, Step.CLAIM, token="t1").is_allowed
    clock.advance(RETENTION.lease_seconds + 1)
    assert store.advance(message_id, Step.CLAIM, token="t2").is_allowed
    assert not store.advance(message_id, Step.FINISH, token="t1").is_allowed


def listed(store: DeliveryStore, before: datetime) -> set[str]:
    return {found.message_id for found in store.stalled(before=before, limit=1000)}


def test_stalled_results_are_listed_and_resting_ones_are_not(store: DeliveryStore) -> None:
    ids = {each: new_id() for each in S}
    store.register([suspended(message_id, state=each) for each, message_id in ids.items()])
    later = START + timedelta(seconds=1)
    active = {ids[each] for each in set(S) - {S.WAITING, S.DONE, S.NEW}}
    assert listed(store, later) & set(ids.values()) == active
    assert not listed(store, START) & set(ids.values())
    # A new one may be silent for longer: its task may be waiting for its next try.
    assert not listed(store, START + NEW_PATIENCE) & {ids[S.NEW]}
    assert listed(store, later + NEW_PATIENCE) & set(ids.values()) == active | {ids[S.NEW]}
    store.advance(ids[S.RUNNING], Step.CLAIM, token=None)
    store.advance(ids[S.RUNNING], Step.FINISH, token=None)
    assert ids[S.RUNNING] not in listed(store, later)


def test_a_result_is_listed_whenever_somebody_has_to_move_it_on(store: DeliveryStore, clock: Clock) -> None:
    """All its way, whoever dies on it; what is not yet dispatched may be found there instead."""
    message_id = new_id()

    def is_found() -> bool:
        later = clock.now + timedelta(seconds=1)
        undispatched = {each.message_id for each in store.undispatched(before=later, limit=1000)}
        return message_id in listed(store, later + NEW_PATIENCE) | undispatched

    store.register([suspended(message_id)])
    assert is_found()
    store.record_submitted(report(message_id, Kind.QUEUED), claim="task")
    assert not is_found()
    sent = report(message_id, Kind.SENT)
    store.record([sent], claim="c")
    assert is_found()
    store.mark_dispatched([Dispatched(message_id=message_id, key=sent.key, is_resumed=True)])
    assert is_found()
    store.advance(message_id, Step.CLAIM, token="t")
    assert is_found()
    store.advance(message_id, Step.FINISH, token="t")
    assert not is_found()


@pytest.mark.parametrize("is_joined", [False, True])
def test_a_result_whose_end_came_early_is_listed_as_soon_as_any_other(
    store: DeliveryStore, clock: Clock, is_joined: bool
) -> None:
    message_id = new_id()
    store.register([delivery(message_id) if is_joined else suspended(message_id)])
    sent = report(message_id, Kind.SENT)
    store.record([sent], claim="c")
    store.mark_dispatched([Dispatched(message_id=message_id, key=sent.key)])
    if is_joined:
        store.register([joining(message_id)])
    assert state(store, message_id) is S.EARLY
    later = clock.now + timedelta(seconds=1)
    assert message_id in listed(store, later)
    store.advance(message_id, Step.SUBMITTED, token="task")
    assert state(store, message_id) is S.RUNNING
    assert message_id in listed(store, later)


def test_a_new_result_that_is_tried_again_is_not_listed(store: DeliveryStore, clock: Clock) -> None:
    message_id = new_id()
    store.register([suspended(message_id)])
    for _ in range(3):
        clock.advance(3600)
        store.advance(message_id, Step.RENEW)
        assert message_id not in listed(store, clock.now)
    clock.advance(3 * 3600)
    assert message_id in listed(store, clock.now)


def test_a_refused_finish_leaves_a_result_listed(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([suspended(message_id, state=S.RUNNING, token="t1")])
    assert not store.advance(message_id, Step.FINISH, token="t2").is_allowed
    assert message_id in listed(store, START + timedelta(seconds=1))


@pytest.mark.parametrize("step", Step)
def test_a_message_without_a_suspended_result_takes_no_step(store: DeliveryStore, step: Step) -> None:
    message_id = new_id()
    assert store.advance(message_id, step).delivery is None
    store.register([delivery(message_id)])
    assert not store.advance(message_id, step, token="t").is_allowed


def test_a_submission_is_recorded_and_suspended_at_once(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([suspended(message_id)])
    moved = store.record_submitted(report(message_id, Kind.QUEUED), claim="task")
    assert moved.is_allowed
    assert moved.delivery == store.get(message_id)
    assert moved.delivery is not None
    assert moved.delivery.status is Status.QUEUED
    assert [entry.is_dispatched for entry in moved.delivery.history] == [True]
    assert state(store, message_id) is S.WAITING


def test_a_submission_whose_end_came_early_gives_the_outcome(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([suspended(message_id)])
    store.record([report(message_id, Kind.SENT)], claim="c")
    moved = store.record_submitted(report(message_id, Kind.QUEUED), claim="task")
    assert moved.is_allowed
    assert moved.delivery is not None
    assert moved.delivery.suspension is not None
    assert (moved.delivery.suspension.state, moved.delivery.suspension.token) == (S.RUNNING, "task")
    assert moved.delivery.outcome is not None


def test_a_submission_of_a_message_without_a_suspended_result_is_recorded_alone(store: DeliveryStore) -> None:
    message_id = new_id()
    assert store.record_submitted(report(message_id, Kind.QUEUED), claim="task").delivery is None
    store.register([delivery(message_id)])
    moved = store.record_submitted(report(message_id, Kind.QUEUED), claim="task")
    assert not moved.is_allowed
    kept = store.get(message_id)
    assert kept is not None
    assert kept.status is Status.QUEUED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["before", "after"])
def test_a_result_joins_a_message_that_another_task_registers(store: DeliveryStore, order: tuple[int, int]) -> None:
    message_id = new_id()
    both = (joining(message_id), replace(delivery(message_id), tenant_id="t1", task_id="other"))
    for index in order:
        store.register([both[index]])
    kept = store.get(message_id)
    assert kept is not None
    assert (kept.is_known, kept.tenant_id, kept.task_id, kept.status) == (True, "t1", "task", Status.NEW)
    assert state(store, message_id) is S.NEW
    store.advance(message_id, Step.SUBMITTED, token="task")
    store.record([report(message_id, Kind.SENT)], claim="c")
    assert state(store, message_id) is S.REPORTED


def test_a_result_that_joins_a_message_too_late_finds_its_end(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([delivery(message_id)])
    store.record([report(message_id, Kind.SENT)], claim="c")
    (kept,) = store.register([joining(message_id)])
    assert kept == store.get(message_id)
    assert state(store, message_id) is S.EARLY


def test_a_second_result_does_not_join(store: DeliveryStore) -> None:
    message_id = new_id()
    store.register([delivery(message_id)])
    store.register([joining(message_id)])
    second = joining(message_id)
    (kept,) = store.register([replace(second, suspension=replace(second.suspension, owner="thief"))])
    assert kept.suspension is not None
    assert kept.suspension.owner == "task"


@pytest.mark.parametrize(
    ("before", "after"), [(S.REPORTED, S.PUBLISHED), (S.RUNNING, S.RUNNING), (S.DONE, S.DONE), (S.WAITING, S.WAITING)]
)
def test_a_told_end_whose_message_was_published_is_marked_so(
    store: DeliveryStore, before: SuspensionState, after: SuspensionState
) -> None:
    message_id = new_id()
    store.register([suspended(message_id, state=before)])
    store.record([report(message_id, Kind.DEFERRED)], claim="c")
    told = Dispatched(message_id=message_id, key=report(message_id, Kind.DEFERRED).key, is_resumed=True)
    store.mark_dispatched([told])
    kept = store.get(message_id)
    assert kept is not None
    assert [entry.is_dispatched for entry in kept.history] == [True]
    assert state(store, message_id) is after


moves = st.one_of(
    st.tuples(st.just("mark"), st.booleans()),
    st.tuples(st.just("record_submitted"), st.sampled_from(["t1", "task"])),
    st.tuples(st.sampled_from(Step), st.sampled_from([None, "t1", "t2"])),
    st.tuples(st.sampled_from([Kind.SENT, Kind.ERROR, Kind.DEFERRED, Kind.BOUNCED]), st.integers(0, 3)),
    st.tuples(st.just("tick"), st.sampled_from([1.0, 61.0])),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.sampled_from(S), steps=st.lists(moves, max_size=10))
def test_any_sequence_of_steps_gives_what_the_pure_functions_give(
    store: DeliveryStore, clock: Clock, start: SuspensionState, steps: list[Any]
) -> None:
    clock.now = START
    model = suspended(new_id(), state=start)
    store.register([model])
    for move, argument in steps:
        if move == "tick":
            clock.advance(argument)
        elif move == "mark":
            told = Dispatched(message_id=model.message_id, key=QUEUED.key, is_resumed=argument)
            store.mark_dispatched([told])
            model = mark_dispatched(model, told, now=clock.now)
        elif move == "record_submitted":
            queued = replace(QUEUED, message_id=model.message_id)
            moved = store.record_submitted(queued, claim=argument)
            lease = RETENTION.lease_seconds
            model, _ = record_report(model, queued, claim=argument, now=clock.now, claim_seconds=60, is_settled=True)
            assert model.suspension is not None
            after = advance(model.suspension, Step.SUBMITTED, token=argument, now=clock.now, lease_seconds=lease)
            assert moved.is_allowed == (after is not None)
            model = model if after is None else replace(model, suspension=after)
        elif isinstance(move, Kind):
            reported = report(model.message_id, move, argument)
            store.record([reported], claim="c")
            model, _ = record_report(model, reported, claim="c", now=clock.now, claim_seconds=60)
        else:
            after = advance(
                model.suspension, move, token=argument, now=clock.now, lease_seconds=RETENTION.lease_seconds
            )
            assert store.advance(model.message_id, move, token=argument).is_allowed == (after is not None)
            model = model if after is None else replace(model, suspension=after)
        assert store.get(model.message_id) == model


def test_every_state_can_be_left_but_the_last() -> None:
    left = {before for step in (Step.SUBMITTED, Step.PUBLISHED, Step.CLAIM, Step.FINISH) for before in STEPS[step]}
    assert left | {S.WAITING, S.DONE} == set(S)
