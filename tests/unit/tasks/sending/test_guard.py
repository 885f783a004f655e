"""Whatever a sending task meets: the mail is tried again within its budget, and then ends as error, and all know it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import signature
from celery.exceptions import SoftTimeLimitExceeded

from celery_mailproxy import Status
from celery_mailproxy.conf import task_names
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.errors import (
    DamagedRecord,
    DeliveryError,
    InvalidMessage,
    MailProxyError,
    ProxyUnavailable,
    StoreError,
    UnforeseenError,
)
from celery_mailproxy.proxy.answers import Answer
from celery_mailproxy.proxy.api import Call
from celery_mailproxy.tasks.results import chunks, deliver_task
from celery_mailproxy.tasks.sending import arguments, handover, runs, submitter
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import sent

from .sending_app import MAIL, SendingApp, ids, sending_app

#: What must be in no log, result and traceback.
SECRET = "ann@secret.example"

ON_ERROR = {"on_error": signature("shop.tell")}


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy) -> Iterator[SendingApp]:
    with sending_app(proxy) as one:
        yield one


def failing(error: Exception, *, for_id: str | None = None, after: Callable[..., Any] | None = None) -> Any:
    """A function that raises, or where the message has another id does what `after` does."""

    def fail(message: Any, *args: Any, **kwargs: Any) -> Any:
        if for_id is not None and after is not None and message.message_id != for_id:
            return after(message, *args, **kwargs)
        raise error

    return fail


#: Where an unexpected error may be raised, for a single mail.
PLACES: dict[str, tuple[Any, str]] = {
    "building": (runs, "one_outgoing"),
    "summary": (submitter, "summary_of"),
    "encoding": (handover, "encode"),
    "asking": (handover, "held_before"),
}


@pytest.fixture(params=PLACES)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"nobody foresaw {SECRET}")

    monkeypatch.setattr(*PLACES[request.param], fail)
    return str(request.param)


def assert_ended(one: SendingApp, message_id: str = "t", *, told: int = 1) -> None:
    delivery = one.delivery(message_id)
    assert delivery is not None
    assert delivery.status is Status.ERROR
    assert "unexpected RuntimeError" in (delivery.reason or "")
    assert one.told["mail_error", message_id] == told


def test_a_mail_is_tried_again_within_its_budget(one: SendingApp, broken: str) -> None:
    for retries in range(3):
        state, error = one.run(task_names.SEND, retries=retries, **MAIL)
        assert (state, type(error)) == ("RETRY", UnforeseenError)
    delivery = one.delivery("t")
    assert delivery is None or delivery.status is Status.NEW
    assert not one.told
    # The task itself waits in the broker, with its arguments.
    (first, *rest) = one.published()
    assert (len(rest), first[1][1]) == (2, MAIL)


def test_it_ends_as_error_then_and_everybody_is_notified(one: SendingApp, broken: str) -> None:
    state, error = one.run_to_the_end(task_names.SEND, **MAIL, **ON_ERROR)
    assert (state, type(error)) == ("FAILURE", UnforeseenError)
    assert_ended(one)
    (callback,) = one.published()
    assert callback[0]["task"] == "shop.tell"


def test_a_later_try_sends_it(one: SendingApp, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    assert one.run(task_names.SEND, **MAIL)[0] == "RETRY"
    monkeypatch.undo()
    assert one.run(task_names.SEND, retries=1, **MAIL) == ("SUCCESS", {"id": "t", "queued": 1, "rejected": []})
    assert one.received() == ["t"]


def test_what_it_says_is_neither_logged_nor_kept(
    one: SendingApp, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        _, first = one.run(task_names.SEND, **MAIL)
        _, last = one.run_to_the_end(task_names.SEND, **MAIL)
    assert "unexpected RuntimeError at" in caplog.text
    assert "test_guard.py" in caplog.text
    for text in (caplog.text, str(first), str(last), *one.tracebacks):
        assert SECRET not in text


def test_its_result_follows_it(one: SendingApp, broken: str) -> None:
    assert one.run(task_names.DELIVER, **MAIL)[0] == "RETRY"
    state, error = one.run_to_the_end(task_names.DELIVER, **MAIL, **ON_ERROR)
    assert (state, type(error)) == ("FAILURE", DeliveryError)
    assert_ended(one)


def test_its_outcome_is_collected(one: SendingApp, broken: str) -> None:
    state, outcome = one.run_to_the_end(task_names.DELIVER, collect=True, **MAIL)
    assert (state, outcome["outcome"], outcome["message_id"]) == ("SUCCESS", "error", "t")
    assert_ended(one)


@pytest.mark.parametrize("name", [task_names.SEND, task_names.DELIVER])
def test_the_mails_to_each_recipient_end(one: SendingApp, broken: str, name: str) -> None:
    mail = {**MAIL, "to": ["ann@example.com", "bob@example.com"], "per_recipient": True}
    assert one.run(name, **mail)[0] == "RETRY"
    assert one.run_to_the_end(name, **mail, **ON_ERROR)[0] == "FAILURE"
    whole = one.delivery("t")
    assert whole is not None
    assert whole.status is Status.ERROR
    if whole.members:
        for message_id in whole.member_ids:
            assert_ended(one, message_id)
        assert one.told["mail_error", "t"] == 0
    else:
        # It was never so far that they were known.
        assert_ended(one)


@pytest.mark.parametrize("place", ["building", "summary", "encoding", "dispatching"])
def test_one_mail_of_a_list_takes_no_other_down(one: SendingApp, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    break_one(monkeypatch, one, place, "t-2")
    mails = [MAIL] * 5
    state, _ = one.run(task_names.SEND_MANY, mails)
    # What could not be dispatched is left to a dispatch task of its own.
    assert state == ("SUCCESS" if place == "dispatching" else "RETRY")
    good = [each for each in ids(5) if each != "t-2"]
    assert [each for each in one.received() if each != "t-2"] == good
    assert {each for each in good if one.told["mail_queued", each] == 1} == set(good)
    state, result = one.run_to_the_end(task_names.SEND_MANY, mails, **ON_ERROR)
    assert state == "SUCCESS"
    if place == "dispatching":
        # The proxy has it: that the application was not notified is no end of it.
        assert (result["queued"], result["failed"]) == (5, [])
        return
    assert (result["queued"], [each["id"] for each in result["failed"]]) == (4, ["t-2"])
    assert set(result["ids"]) == set(ids(5))
    assert_ended(one, "t-2")
    assert one.received() == good


@pytest.mark.parametrize(("status", "asked"), [(422, 4), (200, 4), (401, 1), (503, 1)])
def test_a_question_that_the_proxy_does_not_answer_keeps_no_other_mail(
    one: SendingApp, proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch, status: int, asked: int
) -> None:
    """A mail that may have been submitted before is asked for first."""
    with monkeypatch.context() as patch:
        patch.setattr(handover, "encode", failing(RuntimeError("x")))
        assert one.run(task_names.SEND_MANY, [MAIL] * 4)[0] == "RETRY"
    before = len(proxy.requests)
    send = one.runtime.client()._connection.send

    def sent(call: Call) -> Answer:
        is_odd = call.path == "/messages/get" and (asked == 1 or call.params["message_id"] == "t-2")
        answer = send(call)
        return Answer(status=status, content=b'{"detail": "odd"}' if status == 422 else b"5") if is_odd else answer

    monkeypatch.setattr(one.runtime.client()._connection, "send", sent)
    assert one.run(task_names.SEND_MANY, [MAIL] * 4, retries=1)[0] == "RETRY"
    assert sum(request.path.startswith("/messages/get") for request in proxy.requests[before:]) == asked
    assert one.received() == ([] if asked == 1 else ["t-0", "t-1", "t-3"])


def test_two_neighbours_of_a_list_take_no_other_down(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    register = one.runtime.store.register

    def fail(deliveries: Any) -> Any:
        if {"t-0", "t-1"} & {each.message_id for each in deliveries}:
            raise RuntimeError("nobody foresaw this")
        return register(deliveries)

    monkeypatch.setattr(one.runtime.store, "register", fail)
    assert one.run(task_names.SEND_MANY, [MAIL] * 4)[0] == "RETRY"
    assert one.received() == ["t-2", "t-3"]


def break_one(monkeypatch: pytest.MonkeyPatch, one: SendingApp, place: str, message_id: str) -> None:
    """Let one mail meet an error there."""
    error = RuntimeError("nobody foresaw this")
    if place == "building":
        build = arguments.one_outgoing

        def built(*args: Any, **kwargs: Any) -> Any:
            if kwargs["message_id"] == message_id:
                raise error
            return build(*args, **kwargs)

        monkeypatch.setattr(arguments, "one_outgoing", built)
    elif place == "dispatching":
        # Where somebody listens, each mail is dispatched by itself.
        notifier = dispatcher_of(one.runtime)._notifier
        notify = notifier.notify

        def notified(recorded: Any, **options: Any) -> Any:
            if recorded.report.message_id == message_id:
                raise error
            return notify(recorded, **options)

        monkeypatch.setattr(notifier, "notify", notified)
    else:
        module, name = PLACES[place]
        monkeypatch.setattr(module, name, failing(error, for_id=message_id, after=getattr(module, name)))


def test_what_a_broken_run_may_have_submitted_is_not_said_to_be_refused(
    one: SendingApp, proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = one.runtime.store.record

    def fail_once(*args: Any, **kwargs: Any) -> Any:
        # The proxy has them by now, and then goes away.
        monkeypatch.setattr(one.runtime.store, "record", record)
        proxy.stop()
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(one.runtime.store, "record", fail_once)
    state, error = one.run(task_names.SEND_MANY, [MAIL] * 2)
    assert (state, type(error)) == ("RETRY", ProxyUnavailable)
    # A fallback to another transport would send them twice.
    assert error.maybe_accepted


def test_a_result_that_cannot_be_told_is_tried_again(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one.run(task_names.DELIVER, **MAIL)[0] == "IGNORED"
    one.report("t", sent())
    (message,) = [each for each in one.published() if "mail_proxy_resume" in each[0]]
    headers = {"mail_proxy_resume": message[0]["mail_proxy_resume"]}
    with monkeypatch.context() as patch:
        patch.setattr(deliver_task, "outcome_of", failing(RuntimeError("nobody foresaw this")))
        state, error = one.run(task_names.DELIVER, headers=headers, **MAIL)
        assert (state, type(error)) == ("RETRY", UnforeseenError)
    state, result = one.run(task_names.DELIVER, headers=headers, retries=1, **MAIL)
    assert (state, result["kind"]) == ("SUCCESS", "sent")


def test_a_campaigns_chunk_takes_no_other_mail_down(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    break_one(monkeypatch, one, "encoding", "g-c-1")
    chunk: dict[str, Any] = {"campaign": "c", "index": 0, "messages": [MAIL] * 3}
    assert one.run(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t0", **chunk)[0] == "RETRY"
    assert one.received() == ["g-c-0", "g-c-2"]
    # Its own mail is with the proxy: the result waits for that.
    last = {**chunk, "messages": [{**MAIL, **ON_ERROR}] * 3}
    assert one.run_to_the_end(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t0", **last)[0] == "IGNORED"
    assert_ended(one, "g-c-1")
    assert one.received() == ["g-c-0", "g-c-2"]


def test_a_damaged_record_in_a_campaigns_chunk_keeps_no_other_mail(
    one: SendingApp, proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = one.runtime.store.register

    def registered(deliveries: Any) -> Any:
        if any(each.message_id == "g-c-1" for each in deliveries):
            raise DamagedRecord(["g-c-1"], "cut off")
        return register(deliveries)

    monkeypatch.setattr(one.runtime.store, "register", registered)
    chunk: dict[str, Any] = {"campaign": "c", "index": 0, "messages": [MAIL] * 3}
    with proxy.down():
        # The others wait for the proxy, and so does the task that submits them.
        assert one.run(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t0", **chunk)[0] == "RETRY"
    assert one.run(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t0", **chunk)[0] == "IGNORED"
    assert one.received() == ["g-c-0", "g-c-2"]


def test_a_campaigns_chunk_that_cannot_be_submitted_ends_each_of_its_mails(
    one: SendingApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(chunks, "submit_many", fail)
    chunk = {"campaign": "c", "index": 0, "messages": [{**MAIL, **ON_ERROR}] * 3}
    state, error = one.run_to_the_end(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t0", **chunk)
    assert (state, type(error)) == ("FAILURE", DeliveryError)
    for index in range(3):
        assert_ended(one, f"g-c-{index}")
    assert len(one.published()) == 3
    # The others' results join ends that are there.
    state, error = one.run(task_names.DELIVER_FROM_CHUNK, group="g", task_id="t1", campaign="c", index=1)
    assert (state, type(error)) == ("FAILURE", DeliveryError)


def test_a_run_that_hits_its_time_limit_counts(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "encode", failing(SoftTimeLimitExceeded()))
    assert one.run(task_names.SEND, **MAIL)[0] == "RETRY"
    assert one.run(task_names.SEND_MANY, [MAIL], task_id="l")[0] == "RETRY"
    assert one.run_to_the_end(task_names.SEND, **MAIL)[0] == "FAILURE"
    delivery = one.delivery("t")
    assert delivery is not None
    assert (delivery.status, "time limit" in (delivery.reason or "")) == (Status.ERROR, True)


def test_arguments_that_are_no_list_end_at_once(one: SendingApp) -> None:
    for messages in (5, None, "abc", {"to": "x"}):
        state, error = one.run(task_names.SEND_MANY, messages)
        assert (state, type(error)) == ("FAILURE", InvalidMessage)
    assert one.published() == []


def test_a_mail_of_another_task_is_left_alone(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(*PLACES["encoding"], failing(RuntimeError("x")))
        assert one.run(task_names.SEND, task_id="first", message_id="m", **MAIL)[0] == "RETRY"
        patch.setattr(*PLACES["building"], failing(RuntimeError("x")))
        assert one.run_to_the_end(task_names.SEND, task_id="second", message_id="m", **MAIL)[0] == "FAILURE"
    assert not one.told["mail_error", "m"]
    assert one.run(task_names.SEND, task_id="first", message_id="m", retries=1, **MAIL)[0] == "SUCCESS"


def test_a_store_that_is_away_while_a_mail_ends_is_waited_for(
    one: SendingApp, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def away(*args: Any) -> Any:
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(one.runtime.store, "get_many", away)
        state, error = one.run_to_the_end(task_names.SEND, **MAIL)
        assert (state, type(error)) == ("RETRY", StoreError)
    assert one.run_to_the_end(task_names.SEND, **MAIL)[0] == "FAILURE"
    assert_ended(one)


def test_settings_that_cannot_be_read_are_waited_for(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("a module of the settings raises")

    monkeypatch.setattr("celery_mailproxy.runtime.load_settings", fail)
    assert one.run(task_names.SEND, retries=1000, **MAIL)[0] == "RETRY"


def test_called_directly_it_raises_what_it_met(one: SendingApp, broken: str) -> None:
    with pytest.raises((RuntimeError, UnforeseenError)):
        one.app.tasks[task_names.SEND](**MAIL)


def test_eagerly_it_ends_at_once(one: SendingApp, broken: str) -> None:
    one.app.conf.task_always_eager = True
    result = one.app.tasks[task_names.SEND].apply(kwargs=MAIL, task_id="t")
    assert isinstance(result.result, UnforeseenError)
    assert_ended(one)


# What counts against the budget


def test_a_wrong_token_is_waited_for_however_long(one: SendingApp) -> None:
    one.app.conf.mail_proxy_token = "wrong"
    waits = 0
    for retries in range(6):
        headers = {"mail_proxy_waits": waits} if waits else None
        state, error = one.run(task_names.SEND, retries=retries, headers=headers, **MAIL)
        assert (state, type(error)) == ("RETRY", ProxyUnavailable)
        assert error.remedy
        (message,) = one.published()
        waits = message[0]["mail_proxy_waits"]
        assert waits == retries + 1
    delivery = one.delivery("t")
    assert delivery is not None
    assert delivery.status is Status.NEW


def test_who_has_waited_for_the_token_has_all_tries_left(one: SendingApp, proxy: FakeProxy) -> None:
    for retries in range(10, 13):
        proxy.fail_next(status=503)
        headers = {"mail_proxy_waits": 10}
        assert one.run(task_names.SEND, retries=retries, headers=headers, **MAIL)[0] == "RETRY"
        (message,) = one.published()
        assert message[0]["mail_proxy_waits"] == 10
    proxy.fail_next(status=503)
    assert one.run(task_names.SEND, retries=13, headers={"mail_proxy_waits": 10}, **MAIL)[0] == "FAILURE"
    assert one.told["mail_error", "t"] == 1


def test_of_a_list_only_those_end_that_need_not_wait(one: SendingApp, proxy: FakeProxy) -> None:
    one.app.conf.mail_proxy_servers = {"away": {"url": "http://127.0.0.1:9", "api": "entities"}}
    one.app.conf.mail_proxy_token = "wrong"
    mails = [MAIL, {**MAIL, "server": "away"}]
    state, error = one.run_to_the_end(task_names.SEND_MANY, mails)
    # The first waits for its token, the other has no tries left.
    assert (state, bool(error.remedy)) == ("RETRY", True)
    seen = [one.delivery(each) for each in ids(2)]
    assert [each.status if each else None for each in seen] == [Status.NEW, Status.ERROR]


def test_a_server_without_its_certificates_takes_no_others_mail_down(one: SendingApp) -> None:
    one.app.conf.mail_proxy_servers = {"tls": {"url": "https://127.0.0.1:9", "ca_file": "/nowhere/ca.pem"}}
    state, error = one.run(task_names.SEND_MANY, [MAIL, {**MAIL, "server": "tls"}])
    assert state == "RETRY"
    assert "mail_proxy_ca_file" in str(error)
    assert (one.received(), error.maybe_accepted) == (["t-0"], False)
    delivery = one.delivery("t-1")
    assert delivery is not None
    assert delivery.status is Status.NEW


def test_an_error_of_ours_that_is_no_mails_end_is_tried_again(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the way of `deliver_via_proxy` it would be its result, with a mail that nobody ends."""
    monkeypatch.setattr(deliver_task.DeliverTask, "reserve", failing(MailProxyError("odd")))
    assert one.run(task_names.DELIVER, **MAIL)[0] == "RETRY"
    one.run_to_the_end(task_names.DELIVER, **MAIL, **ON_ERROR)
    delivery = one.delivery("t")
    assert delivery is not None
    assert delivery.status is Status.ERROR
