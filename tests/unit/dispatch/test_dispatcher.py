"""Dispatch over the memory store: what is told, to whom, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.callbacks import callback_task_id
from celery_mailproxy.dispatch.dispatcher import Dispatcher
from celery_mailproxy.dispatch.notifying import Notifier
from celery_mailproxy.dispatch.signals import delivery_reported, mail_deferred, mail_error, mail_sent
from celery_mailproxy.errors import DispatchError

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)


def report(kind: Kind, seconds: int = 0, message_id: str = "m1", **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id=message_id, at=NOW + timedelta(seconds=seconds), **fields)


class Published:
    """What the callbacks published, in place of a broker."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, str, tuple[Any, ...]]] = []
        self.broker_is_down = False


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def app(published: Published) -> Celery:
    class App(Celery):  # type: ignore[misc]
        def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> None:
            if published.broker_is_down:
                raise OperationalError("no broker")
            published.tasks.append((name, options["task_id"], tuple(args)))

    return App("dispatch", set_as_current=False, broker="memory://")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(retention=Retention())


@pytest.fixture
def events() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def dispatcher(app: Celery, store: MemoryStore, events: list[tuple[str, Any]]) -> Dispatcher:
    notifier = Notifier(app=app, emit=lambda kind, fields: events.append((kind, fields)))
    return Dispatcher(app=app, store=store, notifier=notifier)


@pytest.fixture
def heard(app: Celery) -> Iterator[list[tuple[str, Any, Any]]]:
    """(signal, report, delivery) of everything told."""
    heard: list[tuple[str, Any, Any]] = []

    def listen(signal: Any, report: Any, delivery: Any, **kwargs: Any) -> None:
        heard.append((signal.name, report, delivery))

    signals = (mail_sent, mail_error, mail_deferred, delivery_reported)
    for each in signals:
        each.connect(listen, sender=app, weak=False)
    yield heard
    for each in signals:
        each.disconnect(listen, sender=app)


def register(store: MemoryStore, message_id: str = "m1", **callbacks: Any) -> None:
    delivery = Delivery(
        message_id=message_id, created_at=NOW, updated_at=NOW, status=Status.QUEUED, callbacks=callbacks, task_id="t1"
    )
    store.register([delivery])


def sig(task: str, *, immutable: bool = False, args: Any = ()) -> dict[str, Any]:
    return {"task": task, "args": list(args), "kwargs": {}, "options": {}, "subtask_type": None, "immutable": immutable}


def test_a_report_is_told_by_its_signal_and_by_the_general_one(
    dispatcher: Dispatcher, store: MemoryStore, heard: list[Any], events: list[Any]
) -> None:
    register(store)
    assert dispatcher.dispatch([report(Kind.SENT)]) == []
    assert [(name, told.kind, delivery.status) for name, told, delivery in heard] == [
        ("mail_sent", Kind.SENT, Status.SENT),
        ("delivery_reported", Kind.SENT, Status.SENT),
    ]
    assert [kind for kind, _ in events] == ["mail-sent"]


def test_a_repeated_report_is_told_once(dispatcher: Dispatcher, store: MemoryStore, heard: list[Any]) -> None:
    register(store)
    for _ in range(3):
        dispatcher.dispatch([report(Kind.SENT), report(Kind.SENT)])
    assert len(heard) == 2


def test_a_batch_in_the_wrong_order_is_told_in_the_right_one(
    dispatcher: Dispatcher, store: MemoryStore, heard: list[Any]
) -> None:
    register(store)
    dispatcher.dispatch([report(Kind.SENT, 9), report(Kind.DEFERRED, 1), report(Kind.DEFERRED, 5)])
    assert [told.kind for name, told, _ in heard if name != "delivery_reported"] == [
        Kind.DEFERRED,
        Kind.DEFERRED,
        Kind.SENT,
    ]


def test_a_late_deferred_is_kept_but_not_told(dispatcher: Dispatcher, store: MemoryStore, heard: list[Any]) -> None:
    register(store)
    dispatcher.dispatch([report(Kind.SENT, 9)])
    heard.clear()
    dispatcher.dispatch([report(Kind.DEFERRED, 1)])
    delivery = store.get("m1")
    assert heard == []
    assert delivery is not None
    assert delivery.status is Status.SENT
    assert len(delivery.history) == 2


def test_callbacks_get_the_report_first_and_immutable_ones_get_none(
    dispatcher: Dispatcher, store: MemoryStore, published: Published
) -> None:
    register(store, sent=[sig("shop.paid", args=[7]), sig("shop.note", immutable=True)])
    told = report(Kind.SENT)
    dispatcher.dispatch([told])
    assert published.tasks == [
        ("shop.paid", callback_task_id(told, 0), (told.to_json(), 7)),
        ("shop.note", callback_task_id(told, 1), ()),
    ]


def test_a_callback_that_was_erased_is_none_and_the_others_keep_their_numbers(
    dispatcher: Dispatcher, store: MemoryStore, published: Published
) -> None:
    register(store, sent=[{}, sig("shop.note", immutable=True)], bounced=[{}])
    sent, bounced = report(Kind.SENT), report(Kind.BOUNCED, 1)
    dispatcher.dispatch([sent, bounced])
    assert published.tasks == [("shop.note", callback_task_id(sent, 1), ())]
    assert store.failed() == []


@pytest.mark.parametrize(
    ("kind", "callback"),
    [
        (Kind.SENT, "sent"),
        (Kind.ERROR, "error"),
        (Kind.REJECTED, "error"),
        (Kind.DEFERRED, "deferred"),
        (Kind.BOUNCED, "bounced"),
    ],
)
def test_each_outcome_calls_its_own_callback(
    kind: Kind, callback: str, dispatcher: Dispatcher, store: MemoryStore, published: Published
) -> None:
    every = {name: [sig(f"on.{name}")] for name in ("sent", "error", "deferred", "bounced")}
    store.register([Delivery(message_id="m1", created_at=NOW, updated_at=NOW, callbacks=every)])
    dispatcher.dispatch([report(kind)])
    assert [name for name, _, _ in published.tasks] == [f"on.{callback}"]


def test_a_broker_that_fails_leaves_the_report_for_the_next_try(
    dispatcher: Dispatcher, store: MemoryStore, published: Published, heard: list[Any]
) -> None:
    register(store, sent=[sig("shop.paid")])
    published.broker_is_down = True
    with pytest.raises(OperationalError):
        dispatcher.dispatch([report(Kind.SENT)])
    assert heard == []
    published.broker_is_down = False
    dispatcher.dispatch([report(Kind.SENT)])
    assert len(published.tasks) == 1
    assert len(heard) == 2


def test_a_handler_that_raises_is_kept_for_replay(
    app: Celery, dispatcher: Dispatcher, store: MemoryStore, heard: list[Any]
) -> None:
    register(store)
    is_broken = True

    def fragile(**kwargs: Any) -> None:
        if is_broken:
            raise RuntimeError("database away")

    mail_sent.connect(fragile, sender=app)
    dispatcher.dispatch([report(Kind.SENT)])
    assert len(heard) == 2
    assert store.failed() == ["m1"]
    assert dispatcher.replay("m1") == (0, 1)
    is_broken = False
    assert dispatcher.replay("m1") == (1, 0)
    assert store.failed() == []
    assert dispatcher.replay("m1") == (0, 0)
    assert len(heard) == 2


def test_unknown_messages_are_handed_back_and_told_without_a_delivery_when_adopted(
    dispatcher: Dispatcher, store: MemoryStore, heard: list[Any]
) -> None:
    unknown = [report(Kind.SENT, message_id="stranger")]
    assert dispatcher.dispatch(unknown) == unknown
    assert heard == []
    assert dispatcher.dispatch(unknown, adopt=True) == []
    assert [delivery for _, _, delivery in heard] == [None, None]
    dispatcher.dispatch(unknown, adopt=True)
    assert len(heard) == 2


def test_another_tenants_report_is_ignored(
    dispatcher: Dispatcher, store: MemoryStore, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    store.register([Delivery(message_id="m1", created_at=NOW, updated_at=NOW, tenant_id="acme")])
    dispatcher.dispatch([report(Kind.SENT, tenant_id="evil")])
    assert heard == []
    assert "sent report is foreign" in caplog.text
    assert "mail_proxy_tenant" not in caplog.text


def test_a_tenants_report_of_a_mail_without_a_tenant_is_refused_with_a_remedy(
    dispatcher: Dispatcher, store: MemoryStore, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    store.register([Delivery(message_id="m1", created_at=NOW, updated_at=NOW)])
    dispatcher.dispatch([report(Kind.SENT, tenant_id="evil")])
    assert heard == []
    assert "set mail_proxy_tenant" in caplog.text


def test_an_id_begins_no_line_of_the_log(
    app: Celery, dispatcher: Dispatcher, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    # As a broker may bring it: the receiver takes no such id.
    message_id = "m1\nERROR forged\x1b[2J"
    store.register([Delivery(message_id=message_id, created_at=NOW, updated_at=NOW, tenant_id="acme")])

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("nope")

    mail_error.connect(broken, sender=app)
    dispatcher.dispatch([report(Kind.SENT, message_id=message_id, tenant_id="evil")])
    dispatcher.dispatch([report(Kind.ERROR, message_id=message_id)])
    dispatcher.dispatch([report(Kind.DEFERRED, message_id=message_id)])
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("celery_mailproxy")]
    assert sum("m1" in line for line in lines) == 3
    assert all(line.isprintable() for line in lines)


def test_no_log_holds_the_reason(
    app: Celery, dispatcher: Dispatcher, store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    register(store, error=[{"task": "x", "options": {"countdown": "soon"}, "args": ["bob@example.com"]}])

    def broken(**kwargs: Any) -> None:
        raise RuntimeError("nope")

    mail_error.connect(broken, sender=app)
    dispatcher.dispatch([report(Kind.ERROR, reason="550 bob@example.com unknown")])
    assert "broken" in caplog.text
    assert "bob@example.com" not in caplog.text


def test_one_report_that_cannot_be_told_stops_no_other(
    app: Celery, store: MemoryStore, dispatcher: Dispatcher, heard: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for message_id in ("m1", "m2", "m3"):
        register(store, message_id)
    tell = Notifier.call
    broken = True

    def call(self: Notifier, report: DeliveryReport, *args: Any, **kwargs: Any) -> list[str]:
        if broken and report.message_id == "m2":
            raise TypeError("something of ours is wrong")
        return tell(self, report, *args, **kwargs)

    monkeypatch.setattr(Notifier, "call", call)
    batch = [report(Kind.SENT, n, f"m{n}") for n in (1, 2, 3)]
    with pytest.raises(DispatchError):
        dispatcher.dispatch(batch)
    assert {told.message_id for _, told, _ in heard} == {"m1", "m3"}
    broken = False
    dispatcher.dispatch(batch)
    assert len(heard) == 6
