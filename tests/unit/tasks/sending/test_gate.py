"""The last look at a mail: it expires, handlers change or withdraw it, and a staging system's stays inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import signature

from celery_mailproxy import CancelSend, DeliveryCancelled, DeliveryExpired, MessageRejected, Status, signals
from celery_mailproxy.conf import task_names
from celery_mailproxy.errors import UnforeseenError
from celery_mailproxy.tasks.sending.submitter import submitter_of
from celery_mailproxy.testing import FakeProxy

from .sending_app import MAIL, SendingApp, sending_app

STAGING = {"allowed_recipients": "@team.example", "redirect_to": "qa@team.example"}


@pytest.fixture(params=["commands-0.5", "commands-0.6", "entities", "v1"])
def proxy(request: pytest.FixtureRequest) -> Iterator[FakeProxy]:
    with FakeProxy(request.param, reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy) -> Iterator[SendingApp]:
    with sending_app(proxy) as one:
        yield one


@pytest.fixture
def connected(one: SendingApp) -> Iterator[Callable[[Callable[..., None]], None]]:
    """Connects handlers of `mail_submitting` until the test ends."""
    handlers: list[Callable[..., None]] = []

    def connect(handler: Callable[..., None]) -> None:
        signals.mail_submitting.connect(handler, sender=one.app, weak=False)
        handlers.append(handler)

    yield connect
    for handler in handlers:
        signals.mail_submitting.disconnect(handler, sender=one.app)


def soon(**more: float) -> datetime:
    return datetime.now(timezone.utc) + timedelta(**more)


def test_a_handler_changes_the_mail_that_leaves(one: SendingApp, connected: Any) -> None:
    seen: list[Any] = []

    def handler(sender: Any, submission: Any, **kwargs: Any) -> None:
        seen.append((sender, submission.message.to, submission.delivery.message_id))
        submission.replace(to=["bob@example.com"], headers={"X-Campaign": "7"})

    connected(handler)
    assert one.run(task_names.SEND, **MAIL)[0] == "SUCCESS"
    assert seen == [(one.app, ("ann@example.com",), "t")]
    (message,) = one.proxy.received
    assert message["to"] == ["bob@example.com"]
    assert message["headers"]["X-Campaign"] == "7"


def test_each_of_many_meets_the_handlers(one: SendingApp, connected: Any) -> None:
    def handler(submission: Any, **kwargs: Any) -> None:
        if submission.message.message_id == "t-1":
            raise CancelSend("unsubscribed")

    connected(handler)
    state, result = one.run(task_names.SEND_MANY, [MAIL, MAIL, MAIL])
    assert (state, result["queued"]) == ("SUCCESS", 2)
    assert result["rejected"] == [{"id": "t-1", "reason": "unsubscribed"}]
    assert one.received() == ["t-0", "t-2"]
    cancelled = one.delivery("t-1")
    assert cancelled is not None
    assert (cancelled.status, cancelled.reason) == (Status.CANCELLED, "unsubscribed")


def test_a_withdrawn_mail_ends_as_cancelled(one: SendingApp, connected: Any) -> None:
    def handler(**kwargs: Any) -> None:
        raise CancelSend("unsubscribed")

    connected(handler)
    told: list[str] = []

    def note(report: Any, **kwargs: Any) -> None:
        told.append(report.reason)

    signals.mail_cancelled.connect(note, sender=one.app)
    state, error = one.run(task_names.SEND, **MAIL)
    assert state == "FAILURE"
    assert isinstance(error, DeliveryCancelled)
    assert told == ["unsubscribed"]
    # Run again, as after a crash: nothing more happens.
    assert one.run(task_names.SEND, **MAIL)[0] == "FAILURE"
    assert (told, one.received()) == (["unsubscribed"], [])


@pytest.mark.parametrize("is_at_the_proxy", [True, False])
def test_a_withdrawal_comes_too_late_for_a_mail_at_the_proxy(
    one: SendingApp, proxy: FakeProxy, connected: Any, is_at_the_proxy: bool
) -> None:
    if is_at_the_proxy:
        proxy.lose_next_answer()
    else:
        proxy.fail_next()
    assert one.run(task_names.SEND, **MAIL)[0] == "RETRY"

    def handler(**kwargs: Any) -> None:
        raise CancelSend

    connected(handler)
    state, _ = one.run(task_names.SEND, **MAIL)
    delivery = one.delivery("t")
    assert delivery is not None
    assert (state, delivery.status) == (
        ("SUCCESS", Status.QUEUED) if is_at_the_proxy else ("FAILURE", Status.CANCELLED)
    )


def test_a_handler_that_breaks_lets_no_mail_out(one: SendingApp, connected: Any) -> None:
    def handler(**kwargs: Any) -> None:
        raise LookupError("no such customer")

    connected(handler)
    assert one.run(task_names.SEND, **MAIL)[0] == "RETRY"
    state, error = one.run_to_the_end(task_names.SEND, **MAIL)
    assert state == "FAILURE"
    assert isinstance(error, UnforeseenError)
    assert one.received() == []


def test_what_a_handler_asks_for_is_checked(one: SendingApp, connected: Any) -> None:
    def handler(submission: Any, **kwargs: Any) -> None:
        submission.replace(to=["no address"])

    connected(handler)
    assert isinstance(one.run(task_names.SEND, **MAIL)[1], MessageRejected)
    assert one.received() == []


@pytest.mark.parametrize("is_number", [False, True], ids=["a datetime", "unix seconds"])
def test_a_mail_that_has_expired_is_not_submitted(one: SendingApp, is_number: bool) -> None:
    expires_at = soon(seconds=-1).timestamp() if is_number else soon(seconds=-1)
    told = {"on_error": signature("shop.tell")}
    state, error = one.run(task_names.SEND, **MAIL, expires_at=expires_at, **told)
    assert state == "FAILURE"
    assert isinstance(error, DeliveryExpired)
    assert one.received() == []
    delivery = one.delivery("t")
    assert delivery is not None
    assert delivery.status is Status.EXPIRED
    assert [headers["task"] for headers, _ in one.published()] == ["shop.tell"]


@pytest.mark.parametrize("is_number", [False, True], ids=["a datetime", "seconds from now"])
def test_a_mail_that_has_not_expired_is(one: SendingApp, is_number: bool) -> None:
    expires_at = 3600 if is_number else soon(hours=1)
    assert one.run(task_names.SEND, **MAIL, expires_at=expires_at)[0] == "SUCCESS"
    assert one.received() == ["t"]


@pytest.mark.parametrize("is_at_the_proxy", [True, False])
def test_what_expires_between_two_tries_may_be_at_the_proxy(
    one: SendingApp, proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch, is_at_the_proxy: bool
) -> None:
    """An answer was lost: no mail is said to have expired that the proxy sends."""
    if is_at_the_proxy:
        proxy.lose_next_answer()
    else:
        proxy.fail_next()
    moment = soon(hours=1)
    assert one.run(task_names.SEND, **MAIL, expires_at=moment)[0] == "RETRY"
    monkeypatch.setattr(submitter_of(one.runtime)._handover._gate, "_clock", lambda: moment.timestamp())
    proxy.fail_next(any_request=True)
    # Where the proxy does not say whether it has it, nothing is said.
    assert one.run(task_names.SEND, **MAIL, expires_at=moment)[0] == "RETRY"
    state, _ = one.run(task_names.SEND, **MAIL, expires_at=moment)
    delivery = one.delivery("t")
    assert delivery is not None
    found = (state, delivery.status, len(one.received()))
    assert found == (("SUCCESS", Status.QUEUED, 1) if is_at_the_proxy else ("FAILURE", Status.EXPIRED, 0))


def test_a_staging_system_sends_nothing_outside(proxy: FakeProxy) -> None:
    with sending_app(proxy, **STAGING) as one:
        to = {"to": ["ann@example.com", "bob@team.example"]}
        assert one.run(task_names.SEND, **{**MAIL, **to})[0] == "SUCCESS"
        (message,) = one.proxy.received
        assert message["to"] == ["bob@team.example", "qa@team.example"]
        assert "example.com" not in str({**message, "from": "", "message_id": "", "headers": ""})


def test_those_who_may_get_their_copy_get_it_alone(proxy: FakeProxy) -> None:
    with sending_app(proxy, **STAGING) as one:
        to = {"to": ["ann@example.com", "bob@team.example"]}
        assert one.run(task_names.SEND, **{**MAIL, **to}, per_recipient=True)[0] == "SUCCESS"
        anns, bobs = one.proxy.received
        assert "ann@" not in str([anns, bobs])
        assert "qa@" in str(anns)
        assert "bob@" in str(bobs)
        assert "qa@" not in str(bobs)


def test_each_copy_of_a_mail_to_each_recipient_stays_inside(proxy: FakeProxy) -> None:
    with sending_app(proxy, allowed_recipients=["@team.example"]) as one:
        to = {"to": ["ann@example.com", "bob@team.example"]}
        state, result = one.run(task_names.SEND, **{**MAIL, **to}, per_recipient=True)
        assert (state, result["queued"], len(result["rejected"])) == ("SUCCESS", 1, 1)
        assert "ann@" not in str(one.proxy.received)


def test_nobody_left_is_said_with_the_remedy(proxy: FakeProxy) -> None:
    with sending_app(proxy, allowed_recipients="@team.example") as one:
        state, error = one.run(task_names.SEND, **MAIL)
        assert state == "FAILURE"
        assert isinstance(error, MessageRejected)
        assert "mail_proxy_allowed_recipients" in str(error)
        assert one.received() == []
