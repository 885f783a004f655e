"""Hard bounces and complaints put addresses on the suppression list, once, and only those whom the mail went to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import DeliveryStore
from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress, digests_of
from celery_mailproxy.dispatch.dispatcher import Dispatcher, dispatcher_of
from celery_mailproxy.dispatch.run import Run
from celery_mailproxy.dispatch.suppression import SuppressionNotes
from celery_mailproxy.errors import StoreError
from celery_mailproxy.runtime import forget_runtime, get_runtime

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(mail_proxy_url="http://x", mail_proxy_store=f"memory://{uuid4()}", mail_proxy_suppression=True)
    yield app
    forget_runtime(app)
    app.close()


@pytest.fixture
def store(app: Celery) -> DeliveryStore:
    store = get_runtime(app).store
    register(store, digests_of("m1", ["ann@example.com", "bob@xn--bcher-kva.example"]))
    return store


@pytest.fixture
def dispatcher(app: Celery, store: DeliveryStore) -> Dispatcher:
    return dispatcher_of(get_runtime(app))


def register(store: DeliveryStore, summary: Any, message_id: str = "m1") -> None:
    store.register([Delivery(message_id=message_id, created_at=NOW, updated_at=NOW, summary=summary)])


def report(kind: Kind = Kind.BOUNCED, recipient: str | None = "ann@example.com", **fields: Any) -> DeliveryReport:
    if kind is Kind.BOUNCED:
        fields = {"bounce_type": "hard", **fields}
    fields = {"message_id": "m1", "event_id": str(uuid4()), **fields}
    return DeliveryReport(kind=kind, at=NOW, recipient=recipient, via="mailbox", **fields)


def listed(store: DeliveryStore) -> list[tuple[str, Cause]]:
    return sorted((each.address, each.cause) for page in store.suppression.pages() for each in page)


def test_a_hard_bounce_and_a_complaint_list_their_recipient(store: DeliveryStore, dispatcher: Dispatcher) -> None:
    dispatcher.dispatch([report(), report(Kind.COMPLAINED, "bob@bücher.example")])
    assert listed(store) == [("ann@example.com", Cause.BOUNCED), ("bob@xn--bcher-kva.example", Cause.COMPLAINED)]
    assert store.suppression.find(["ann@example.com"]) == [
        SuppressedAddress(address="ann@example.com", cause=Cause.BOUNCED, at=NOW, message_id="m1")
    ]


def test_the_same_is_listed_once_for_each_cause(store: DeliveryStore, dispatcher: Dispatcher) -> None:
    dispatcher.dispatch([report(), report(recipient="ANN@Example.COM"), report(Kind.COMPLAINED)])
    dispatcher.dispatch([report()])
    assert listed(store) == [("ann@example.com", Cause.BOUNCED), ("ann@example.com", Cause.COMPLAINED)]


@pytest.mark.parametrize(
    "other",
    [
        report(bounce_type="soft"),
        report(bounce_type=None),
        report(Kind.ERROR, bounce_type="hard"),
        report(Kind.SENT),
        report(Kind.DEFERRED),
        report(recipient=None),
        report(recipient="not an address"),
        report(Kind.COMPLAINED, None),
    ],
    ids=lambda each: f"{each.kind} {each.bounce_type} {each.recipient}",
)
def test_nothing_else_lists_anybody(store: DeliveryStore, dispatcher: Dispatcher, other: DeliveryReport) -> None:
    dispatcher.dispatch([other])
    assert listed(store) == []


def test_a_bounce_of_a_mail_lists_nobody_that_it_did_not_go_to(
    store: DeliveryStore, dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever has got a mail knows its id, and can write a bounce of it that names anybody."""
    register(store, digests_of("m2", ["victim@example.com"]), "m2")
    with caplog.at_level(logging.DEBUG):
        dispatcher.dispatch([report(recipient="victim@example.com")])
        dispatcher.dispatch([report(message_id="unknown", recipient="victim@example.com")], adopt=True)
    assert listed(store) == []
    assert "victim" not in caplog.text


def test_recipients_that_the_store_keeps_need_no_digest(store: DeliveryStore, dispatcher: Dispatcher) -> None:
    register(store, {"to": ["Ann <Ann@example.com>", "bob@example.com"]}, "m2")
    dispatcher.dispatch([report(message_id="m2"), report(message_id="m2", recipient="cid@example.com")])
    assert listed(store) == [("ann@example.com", Cause.BOUNCED)]


def test_without_the_setting_nobody_is_listed(app: Celery, store: DeliveryStore) -> None:
    app.conf.mail_proxy_suppression = False
    forget_runtime(app)
    dispatcher_of(get_runtime(app)).dispatch([report()])
    assert listed(store) == []


def test_a_run_that_dies_between_record_and_note_loses_nothing(
    app: Celery, store: DeliveryStore, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As `kill -9`: nothing of ours runs after it."""

    def die(*args: Any) -> None:
        raise Killed

    bounce = report()
    with monkeypatch.context() as patched:
        patched.setattr(SuppressionNotes, "note", die)
        with pytest.raises(Killed):
            dispatcher.dispatch([bounce], run=Run(claim="first"))
    assert listed(store) == []
    # The broker gives the task out again, and another run goes on with it.
    dispatcher.dispatch([bounce], run=Run(claim="second", after="first"))
    assert listed(store) == [("ann@example.com", Cause.BOUNCED)]


def test_a_store_that_cannot_take_the_address_leaves_the_report_for_the_next_try(
    store: DeliveryStore, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Any, entries: Any) -> int:
        raise StoreError("away")

    bounce = report()
    with monkeypatch.context() as patched:
        patched.setattr(type(store.suppression), "add", away)
        with pytest.raises(StoreError):
            dispatcher.dispatch([bounce], run=Run(hands_over=False))
    dispatcher.dispatch([bounce], run=Run(hands_over=False))
    assert listed(store) == [("ann@example.com", Cause.BOUNCED)]


def test_the_log_tells_of_it_without_the_address(dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        dispatcher.dispatch([report()])
    assert "message m1: its recipient is on the suppression list (bounced)" in caplog.text
    assert "ann@" not in caplog.text
