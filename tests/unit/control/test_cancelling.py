"""Cancelling a mail: wherever it is, the answer is true, and it ends as the answer says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from celery_mailproxy import DeliveryCancelled, DeliveryError, Status, signals
from celery_mailproxy.conf import task_names
from celery_mailproxy.control.cancellation import CancelOutcome
from celery_mailproxy.control.cancelling import Canceller, cancel, cancel_many
from celery_mailproxy.deliveries.leaving import new_run
from celery_mailproxy.deliveries.losses import healing_lease
from celery_mailproxy.deliveries.report import parse_entry
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.proxy.nested_mail import spare_id
from celery_mailproxy.runtime import get_delivery
from celery_mailproxy.tasks.results.stalled import move_on_stalled
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import sent
from tests.contract.store_values import delivery
from tests.unit.tasks.sending.sending_app import MAIL, SendingApp, sending_app

#: Of a mail that the proxy is to send much later.
LATER: dict[str, Any] = {"send_at": int(time.time()) + 3600}


@pytest.fixture(params=["commands-0.5", "commands-0.6", "entities", "v1"])
def proxy(request: pytest.FixtureRequest) -> Iterator[FakeProxy]:
    with FakeProxy(request.param, reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy) -> Iterator[SendingApp]:
    told = signals.mail_cancelled
    with sending_app(proxy) as one:
        told.connect(one.note, sender=one.app, weak=False)
        yield one
        told.disconnect(one.note, sender=one.app)


def outcome(one: SendingApp, *message_ids: str, patience_seconds: float = 0.0) -> list[CancelOutcome]:
    answers = Canceller(one.runtime, patience_seconds=patience_seconds).cancel(message_ids or ("t",))
    return [each.outcome for each in answers]


def status(one: SendingApp, message_id: str = "t") -> Status:
    found = one.delivery(message_id)
    assert found is not None
    return found.status


def dispatch(one: SendingApp) -> list[str]:
    """Run the dispatch tasks that have been published; the names of all tasks that were."""
    names = []
    for headers, (args, kwargs, _) in one.published():
        names.append(headers["task"])
        if headers["task"] == task_names.DISPATCH:
            assert one.run(task_names.DISPATCH, *args, task_id=headers["id"], **kwargs)[0] == "SUCCESS"
    return names


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_a_mail_whose_task_is_yet_to_run_is_not_submitted(one: SendingApp, name: str) -> None:
    assert outcome(one) == [CancelOutcome.UNKNOWN]
    assert get_delivery("t", app=one.app) is None
    state, error = one.run(name, **MAIL)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
    assert (status(one), one.received()) == (Status.CANCELLED, [])
    assert one.told["mail_cancelled", "t"] == 1
    # Run again, as after a crash.
    assert one.run(name, **MAIL)[0] in ("FAILURE", "IGNORED")
    assert one.told["mail_cancelled", "t"] == 1
    assert outcome(one) == [CancelOutcome.BEFORE_SUBMISSION]


def test_an_unknown_id_stays_unknown(one: SendingApp) -> None:
    assert [outcome(one) for _ in range(2)] == [[CancelOutcome.UNKNOWN]] * 2
    assert one.published() == []


def test_one_of_many_is_cancelled(one: SendingApp) -> None:
    assert outcome(one, "t-1") == [CancelOutcome.UNKNOWN]
    state, result = one.run(task_names.SEND_MANY, [MAIL, MAIL, MAIL])
    assert (state, result["queued"]) == ("SUCCESS", 2)
    assert result["rejected"] == [{"id": "t-1", "reason": "cancelled before it was submitted"}]
    assert one.received() == ["t-0", "t-2"]


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_a_mail_that_waits_for_the_proxy_is_cancelled_at_once(one: SendingApp, proxy: FakeProxy, name: str) -> None:
    with proxy.down():
        assert one.run(name, **MAIL)[0] == "RETRY"
        assert outcome(one) == [CancelOutcome.BEFORE_SUBMISSION]
        assert status(one) is Status.CANCELLED
    assert task_names.DISPATCH in dispatch(one)
    assert one.told["mail_cancelled", "t"] == 1
    state, error = one.run(name, retries=1, **MAIL)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
    assert one.received() == []
    assert one.told["mail_cancelled", "t"] == 1


def test_a_stalled_result_ends_as_cancelled(one: SendingApp, proxy: FakeProxy) -> None:
    with proxy.down():
        assert one.run(task_names.DELIVER, **MAIL)[0] == "RETRY"
    assert outcome(one) == [CancelOutcome.BEFORE_SUBMISSION]
    # Its retry is lost.
    one.published()
    found = one.delivery("t")
    assert found is not None
    assert found.suspension is not None
    assert found.suspension.state is SuspensionState.EARLY
    later = found.suspension.since.replace(year=found.suspension.since.year + 1)
    one.runtime.store.clock = lambda: later
    assert move_on_stalled(one.runtime, now=later, lease_seconds=1, limit=10)["resumed"] == 1
    ((headers, (args, kwargs, _)),) = [each for each in one.published() if each[0]["task"] == task_names.DELIVER]
    resume = {"mail_proxy_resume": headers["mail_proxy_resume"]}
    state, error = one.run(task_names.DELIVER, *args, headers=resume, **kwargs)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
    assert one.received() == []


def test_a_mail_that_waits_at_the_proxy_is_deleted_there(one: SendingApp, proxy: FakeProxy) -> None:
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "SUCCESS"
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    assert (status(one), proxy.messages(proxy.tenant_id)) == (Status.CANCELLED, [])
    dispatch(one)
    assert one.told["mail_cancelled", "t"] == 1
    found = one.delivery("t")
    assert found is not None
    assert found.reason == "deleted at the proxy"
    assert outcome(one) == [CancelOutcome.AT_PROXY]


def test_a_result_that_waits_for_its_mail_fails(one: SendingApp) -> None:
    assert one.run(task_names.DELIVER, **MAIL, **LATER)[0] == "IGNORED"
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    dispatch(one)
    ((headers, (args, kwargs, _)),) = [each for each in one.published() if each[0]["task"] == task_names.DELIVER]
    resume = {"mail_proxy_resume": headers["mail_proxy_resume"]}
    state, error = one.run(task_names.DELIVER, *args, headers=resume, **kwargs)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)


def test_a_mail_that_is_due_at_the_proxy_may_have_been_sent(one: SendingApp, proxy: FakeProxy) -> None:
    proxy.plan("ann@example.com")
    assert one.run(task_names.SEND, **MAIL)[0] == "SUCCESS"
    (answer,) = Canceller(one.runtime, patience_seconds=0.0).cancel(["t"])
    assert (answer.outcome, answer.status, answer.is_cancelled) == (CancelOutcome.MAYBE_SENT, Status.ERROR, False)
    assert answer.reason == "the proxy may have been sending it while it was deleted"
    assert (status(one), proxy.messages(proxy.tenant_id)) == (Status.ERROR, [])
    dispatch(one)
    assert (one.told["mail_cancelled", "t"], one.told["mail_error", "t"]) == (0, 1)


def test_a_mail_that_is_just_being_sent_is_waited_for(one: SendingApp, proxy: FakeProxy) -> None:
    proxy.plan("ann@example.com", sent(delay_seconds=0.5))
    assert one.run(task_names.SEND, **MAIL)[0] == "SUCCESS"
    (answer,) = Canceller(one.runtime, patience_seconds=60.0).cancel(["t"])
    assert (answer.outcome, answer.status) == (CancelOutcome.TOO_LATE, Status.SENT)
    # Its report says so.
    assert status(one) is Status.QUEUED


def test_a_mail_that_has_been_sent_is_not_cancelled(one: SendingApp) -> None:
    assert one.run(task_names.SEND, **MAIL)[0] == "SUCCESS"
    one.report("t", sent())
    (answer,) = cancel_many(["t"], app=one.app)
    assert (answer.outcome, answer.status) == (CancelOutcome.TOO_LATE, Status.SENT)


@pytest.mark.parametrize("patience_seconds", [0.0, 0.3])
def test_a_mail_whose_answer_was_lost_may_have_been_sent(
    one: SendingApp, proxy: FakeProxy, patience_seconds: float
) -> None:
    proxy.lose_next_answer()
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "RETRY"
    assert outcome(one, patience_seconds=patience_seconds) == [CancelOutcome.MAYBE_SENT]
    assert proxy.messages(proxy.tenant_id) == []
    # A run of it may still be at it, and is not believed to have stopped.
    assert status(one) is Status.ERROR
    assert one.run(task_names.SEND, retries=1, **MAIL, **LATER)[0] == "FAILURE"
    assert one.received() == ["t"]


def test_a_mail_that_the_proxy_may_not_have_got_ends_with_its_next_run(one: SendingApp, proxy: FakeProxy) -> None:
    proxy.fail_next(status=502)
    assert one.run(task_names.SEND, **MAIL)[0] == "RETRY"
    assert outcome(one) == [CancelOutcome.MAYBE_SENT]
    assert status(one) is Status.NEW
    state, error = one.run(task_names.SEND, retries=1, **MAIL)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
    assert (status(one), one.received()) == (Status.CANCELLED, [])


def test_nothing_is_said_while_the_proxy_is_away(one: SendingApp, proxy: FakeProxy) -> None:
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "SUCCESS"
    with proxy.down():
        (answer,) = Canceller(one.runtime).cancel(["t"])
        assert (answer.outcome, answer.status) == (CancelOutcome.MAYBE_SENT, Status.QUEUED)
        assert "no connection" in str(answer.reason)
    assert outcome(one) == [CancelOutcome.AT_PROXY]


def test_a_run_that_is_submitting_is_waited_for(one: SendingApp) -> None:
    store = one.runtime.store
    store.register([delivery("t", run=(run := new_run()), tenant_id=one.proxy.tenant_id)])
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            store.take_back(["t"], run)

    (answer,) = Canceller(one.runtime, patience_seconds=60.0, sleep=sleep).cancel(["t"])
    assert (answer.outcome, looks) == (CancelOutcome.BEFORE_SUBMISSION, 3)


def test_many_are_cancelled_with_few_calls(one: SendingApp, proxy: FakeProxy) -> None:
    mails = [{**MAIL, **LATER} for _ in range(50)]
    assert one.run(task_names.SEND_MANY, mails)[0] == "SUCCESS"
    calls = len(proxy.requests)
    ids = [f"t-{number}" for number in range(50)]
    answers = cancel_many([*ids, "t-0", "nobody"], app=one.app)
    assert [each.message_id for each in answers] == [*ids, "t-0", "nobody"]
    assert {each.outcome for each in answers[:-1]} == {CancelOutcome.AT_PROXY}
    assert answers[-1].outcome is CancelOutcome.UNKNOWN
    # 0.7.0 is asked for each.
    assert len(proxy.requests) - calls <= (55 if proxy.profile == "entities" else 5)
    assert {status(one, each) for each in ids} == {Status.CANCELLED}


EACH: dict[str, Any] = {**MAIL, "to": ["ann@example.com", "bob@example.com"], "per_recipient": True}


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_a_mail_to_each_recipient_is_cancelled_as_a_whole(one: SendingApp, name: str) -> None:
    assert one.run(name, **EACH, **LATER)[0] in ("SUCCESS", "IGNORED")
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    dispatch(one)
    assert [status(one, each) for each in ("t-0", "t-1")] == [Status.CANCELLED] * 2
    assert status(one) is Status.ERROR


def test_a_mail_to_each_recipient_is_cancelled_before_it_is_known(one: SendingApp) -> None:
    assert outcome(one) == [CancelOutcome.UNKNOWN]
    state, error = one.run(task_names.SEND, **EACH)
    assert (state, type(error)) == ("FAILURE", DeliveryCancelled)
    assert one.received() == []


def test_of_a_mail_to_each_recipient_the_worst_counts(one: SendingApp) -> None:
    assert one.run(task_names.SEND, **EACH, **LATER)[0] == "SUCCESS"
    one.report("t-1", sent())
    (answer,) = Canceller(one.runtime).cancel(["t"])
    assert (answer.outcome, answer.reason) == (CancelOutcome.TOO_LATE, "1 of 2 recipients were cancelled")


def test_a_mail_of_the_legacy_transport_is_not_taken_back(one: SendingApp) -> None:
    one.runtime.store.register([delivery("t", server="legacy", run=new_run())])
    (answer,) = Canceller(one.runtime, patience_seconds=0.0).cancel(["t"])
    assert answer.outcome is CancelOutcome.MAYBE_SENT
    assert "legacy" in str(answer.reason)


def test_the_broker_may_be_away(one: SendingApp) -> None:
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "SUCCESS"
    one.runtime.store.withdraw(["t"])
    one.app.conf.broker_url = "amqp://127.0.0.1:1//"
    one.app.conf.broker_transport_options = {}
    one.app.conf.broker_connection_timeout = 0.2
    one.app.conf.task_publish_retry = False
    started = time.monotonic()
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    assert time.monotonic() - started < 60
    assert status(one) is Status.CANCELLED
    # The maintenance finds it at once.
    assert one.runtime.store.undispatched(before=one.runtime.store.clock()) != []


def test_a_caller_cancels_one(one: SendingApp) -> None:
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "SUCCESS"
    assert cancel("t", app=one.app).is_cancelled
    assert str(CancelOutcome.AT_PROXY) == "deleted at the proxy"


def test_a_result_says_that_its_mail_may_have_been_sent(one: SendingApp, proxy: FakeProxy) -> None:
    proxy.plan("ann@example.com")
    assert one.run(task_names.DELIVER, **MAIL)[0] == "IGNORED"
    assert outcome(one) == [CancelOutcome.MAYBE_SENT]
    dispatch(one)
    ((headers, (args, kwargs, _)),) = [each for each in one.published() if each[0]["task"] == task_names.DELIVER]
    resume = {"mail_proxy_resume": headers["mail_proxy_resume"]}
    state, error = one.run(task_names.DELIVER, *args, headers=resume, **kwargs)
    assert (state, type(error)) == ("FAILURE", DeliveryError)
    assert "may have been sent" in error.reason


# -------------------------------------------------------------------- beside healing


def deferred_mail(one: SendingApp) -> None:
    """A mail that 0.7.0 has nested in its row, and that is due much later."""
    assert one.run(task_names.SEND, **MAIL, **LATER)[0] == "SUCCESS"
    entry = {"id": "t", "deferred_ts": int(time.time()), "deferred_reason": "451 later"}
    one.runtime.store.record(list(parse_entry(entry)), claim="another")


def test_a_mail_that_is_being_healed_may_have_been_sent(one: SendingApp) -> None:
    deferred_mail(one)
    store = one.runtime.store
    assert store.take_lease(healing_lease("t"), "a healer", seconds=60)
    (answer,) = Canceller(one.runtime, patience_seconds=0).cancel(["t"])
    assert answer.outcome is CancelOutcome.MAYBE_SENT
    assert "cancel it once more" in str(answer.reason)
    assert one.received() == ["t"], "it is there still"
    store.take_lease(healing_lease("t"), "a healer", seconds=0)
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    assert store.take_lease(healing_lease("t"), "a healer", seconds=60), "it is free again"


def test_the_spare_of_a_mail_that_was_being_healed_is_deleted_too(one: SendingApp, proxy: FakeProxy) -> None:
    deferred_mail(one)
    spare = {**proxy.received[0], "id": spare_id("t"), "deferred_ts": LATER["send_at"]}
    assert one.runtime.client().submit([spare]).accepted == (spare_id("t"),)
    assert outcome(one) == [CancelOutcome.AT_PROXY]
    assert proxy.messages(proxy.tenant_id) == []
