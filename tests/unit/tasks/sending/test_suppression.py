"""Recipients on the suppression list get no mail; a mail whose recipients are all on it ends as `suppressed`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import signature

from celery_mailproxy import DeliverySuppressed, Kind, Status, signals
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.report import DeliveryReport
from celery_mailproxy.deliveries.suppression import DIGESTS, Cause, SuppressedAddress
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.errors import StoreError
from celery_mailproxy.testing import FakeProxy

from .sending_app import MAIL, SendingApp, sending_app

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
TWO = {**MAIL, "to": ["Ann <ANN@Example.com>", "bob@example.com"]}


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("commands-0.5", reports=False) as proxy:
        yield proxy


@pytest.fixture
def one(proxy: FakeProxy) -> Iterator[SendingApp]:
    with sending_app(proxy, suppression=True) as one:
        suppress(one, "ann@example.com")
        yield one


def suppress(one: SendingApp, *addresses: str) -> None:
    entries = [SuppressedAddress(address=each, cause=Cause.BOUNCED, at=NOW) for each in addresses]
    one.runtime.store.suppression.add(entries)


def test_a_mail_to_a_suppressed_address_alone_ends_as_suppressed(
    one: SendingApp, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, str | None]] = []

    def note(signal: Any, report: DeliveryReport, **kwargs: Any) -> None:
        told.append((signal.name, report.reason))

    signals.mail_suppressed.connect(note, sender=one.app)
    signals.delivery_reported.connect(note, sender=one.app)
    with caplog.at_level(logging.DEBUG, logger="celery_mailproxy"):
        state, error = one.run(task_names.SEND, **MAIL, on_error=signature("shop.tell"))
    assert state == "FAILURE"
    assert isinstance(error, DeliverySuppressed)
    reason = "its recipient is on the suppression list"
    assert (error.reason, error.code, error.message_id) == (reason, None, "t")
    assert told == [("mail_suppressed", reason), ("delivery_reported", reason)]
    delivery = one.delivery("t")
    assert delivery is not None
    assert (delivery.status, delivery.reason, delivery.is_ended) == (Status.SUPPRESSED, reason, True)
    assert [headers["task"] for headers, _ in one.published()] == ["shop.tell"]
    assert one.received() == []
    assert "ann@" not in caplog.text.lower()
    # Run again, as after a crash: nothing more happens.
    assert isinstance(one.run(task_names.SEND, **MAIL)[1], DeliverySuppressed)
    assert (len(told), one.received()) == (2, [])


def test_of_several_recipients_the_suppressed_ones_are_left_out_and_counted(
    one: SendingApp, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert one.run(task_names.SEND, **TWO, cc=["cid@example.com"])[0] == "SUCCESS"
    (message,) = one.proxy.received
    assert (message["to"], message["cc"]) == (["bob@example.com"], ["cid@example.com"])
    assert "ann@" not in str(message).lower()
    delivery = one.delivery("t")
    assert delivery is not None
    note = "1 of 3 recipients is on the suppression list, and left out"
    assert (delivery.status, delivery.reason) == (Status.QUEUED, note)
    assert f"message t: {note}" in caplog.text
    assert "ann@" not in caplog.text.lower()


def test_a_mail_whose_recipients_are_all_suppressed_ends(one: SendingApp) -> None:
    suppress(one, "bob@example.com")
    state, error = one.run(task_names.SEND, **TWO)
    assert state == "FAILURE"
    assert isinstance(error, DeliverySuppressed)
    assert error.reason == "all its 2 recipients are on the suppression list"


def test_who_gets_a_blind_copy_alone_gets_it(one: SendingApp) -> None:
    assert one.run(task_names.SEND, **MAIL, bcc=["bob@example.com"])[0] == "SUCCESS"
    (message,) = one.proxy.received
    assert message["bcc"] == ["bob@example.com"]
    assert "ann@" not in str(message)


@pytest.mark.parametrize("address", ["ANN@EXAMPLE.COM", "Ann Doe <ann@example.com>", "ann@bücher.example"])
def test_every_spelling_of_an_address_is_the_same(one: SendingApp, address: str) -> None:
    suppress(one, "ann@xn--bcher-kva.example")
    assert isinstance(one.run(task_names.SEND, **{**MAIL, "to": [address]})[1], DeliverySuppressed)
    assert one.received() == []


@pytest.mark.parametrize("address", ["ann+shop@example.com", "joann@example.com", "ann@mail.example.com"])
def test_another_address_is_not_suppressed(one: SendingApp, address: str) -> None:
    assert one.run(task_names.SEND, **{**MAIL, "to": [address]})[0] == "SUCCESS"


def test_a_raw_message_is_looked_at_too(one: SendingApp) -> None:
    raw = "From: shop@example.com\nTo: Ann <Ann@example.com>, bob@example.com\nSubject: s\n\nb\n"
    assert one.run(task_names.SEND, raw=raw)[0] == "SUCCESS"
    (message,) = one.proxy.received
    assert message["to"] == ["bob@example.com"]
    alone = "From: shop@example.com\nTo: ann@example.com\nSubject: s\n\nb\n"
    assert isinstance(one.run(task_names.SEND, raw=alone, task_id="u")[1], DeliverySuppressed)


def test_each_of_many_is_looked_at_on_one_trip(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    suppression = type(one.runtime.store.suppression)
    find = suppression.find

    def counted(self: Any, addresses: Any) -> Any:
        asked.append(len(addresses))
        return find(self, addresses)

    monkeypatch.setattr(suppression, "find", counted)
    state, result = one.run(task_names.SEND_MANY, [MAIL, TWO, {**MAIL, "to": ["bob@example.com"]}])
    assert (state, result["queued"]) == ("SUCCESS", 2)
    assert result["rejected"] == [{"id": "t-0", "reason": "its recipient is on the suppression list"}]
    assert one.received() == ["t-1", "t-2"]
    assert asked == [2]


def test_of_a_mail_to_each_recipient_the_suppressed_ones_copy_ends(one: SendingApp) -> None:
    state, result = one.run(task_names.SEND, **TWO, per_recipient=True)
    assert (state, result["queued"]) == ("SUCCESS", 1)
    assert [each["id"] for each in result["rejected"]] == ["t-0"]
    (message,) = one.proxy.received
    assert message["headers"]["Resent-Bcc"] == "bob@example.com"
    anns = one.delivery("t-0")
    assert anns is not None
    assert anns.status is Status.SUPPRESSED
    # To its readers it is one mail: what is seen of it stays.
    assert "ANN@Example.com" in str(message["to"])


def test_the_end_of_a_suppressed_mail_is_its_result(one: SendingApp) -> None:
    state, error = one.run(task_names.DELIVER, **MAIL)
    assert state == "FAILURE"
    assert isinstance(error, DeliverySuppressed)
    delivery = one.delivery("t")
    assert delivery is not None
    assert delivery.outcome is not None
    assert delivery.outcome.kind is Kind.SUPPRESSED
    state, result = one.run(task_names.DELIVER, **MAIL, task_id="u", collect=True)
    assert (state, result["outcome"], result["reason"]) == ("SUCCESS", "suppressed", error.reason)


def test_without_the_setting_the_list_is_not_asked(proxy: FakeProxy) -> None:
    with sending_app(proxy) as one:
        suppress(one, "ann@example.com")
        assert one.run(task_names.SEND, **MAIL)[0] == "SUCCESS"
        delivery = one.delivery("t")
        assert delivery is not None
        assert DIGESTS not in delivery.summary


def test_a_list_that_cannot_be_read_keeps_the_mail_waiting(one: SendingApp, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Any, addresses: Any) -> Any:
        raise StoreError("away")

    with monkeypatch.context() as patched:
        patched.setattr(type(one.runtime.store.suppression), "find", away)
        assert one.run(task_names.SEND, **{**MAIL, "to": ["bob@example.com"]})[0] == "RETRY"
    assert one.received() == []
    assert one.run(task_names.SEND, **{**MAIL, "to": ["bob@example.com"]})[0] == "SUCCESS"


@pytest.mark.parametrize("is_at_the_proxy", [True, False])
def test_a_mail_that_the_proxy_has_from_an_earlier_try_is_not_said_to_be_suppressed(
    one: SendingApp, proxy: FakeProxy, is_at_the_proxy: bool
) -> None:
    bob = {**MAIL, "to": ["bob@example.com"]}
    if is_at_the_proxy:
        proxy.lose_next_answer()
    else:
        proxy.fail_next()
    assert one.run(task_names.SEND, **bob)[0] == "RETRY"
    suppress(one, "bob@example.com")
    state, _ = one.run(task_names.SEND, **bob)
    delivery = one.delivery("t")
    assert delivery is not None
    expected = ("SUCCESS", Status.QUEUED) if is_at_the_proxy else ("FAILURE", Status.SUPPRESSED)
    assert (state, delivery.status) == expected


def test_a_mail_that_bounced_hard_was_the_last_one_to_its_recipient(proxy: FakeProxy) -> None:
    """From one mail to the next: its delivery knows whom it went to, also where the store keeps no address."""
    with sending_app(proxy, suppression=True, store_summary=False) as one:
        assert one.run(task_names.SEND, **TWO)[0] == "SUCCESS"
        delivery = one.delivery("t")
        assert delivery is not None
        assert list(delivery.summary) == [DIGESTS]
        assert "example.com" not in str(delivery.summary)
        for recipient in ("ann@example.com", "cid@example.com"):
            bounce = DeliveryReport(
                kind=Kind.BOUNCED, message_id="t", at=NOW, bounce_type="hard", recipient=recipient, event_id=recipient
            )
            dispatcher_of(one.runtime).dispatch([bounce])
        assert one.run(task_names.SEND, **MAIL, task_id="u")[0] == "FAILURE"
        assert one.run(task_names.SEND, **{**MAIL, "to": ["cid@example.com"]}, task_id="v")[0] == "SUCCESS"
