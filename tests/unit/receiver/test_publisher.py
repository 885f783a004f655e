"""`ReportPublisher` with an outbox: what the broker loses, refuses or gets twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.delivery import Delivery, is_undispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.dispatch.sweep import PATIENCE, sweep
from celery_mailproxy.errors import StoreError
from celery_mailproxy.receiver.publisher import publisher_of
from celery_mailproxy.runtime import Runtime
from tests.harness.memory_worker import MemoryWorker, Message, memory_worker

OUTBOX_SECONDS = 100.0


@pytest.fixture
def worker() -> Iterator[MemoryWorker]:
    with memory_worker(mail_proxy_outbox=True, mail_proxy_outbox_seconds=OUTBOX_SECONDS) as worker:
        yield worker


@pytest.fixture
def heard(worker: MemoryWorker) -> Iterator[list[str]]:
    """The ids of the mails of which a handler has heard that they were sent."""
    heard: list[str] = []

    def hear(report: DeliveryReport, **kwargs: object) -> None:
        heard.append(report.message_id)

    mail_sent.connect(hear, sender=worker.app)
    yield heard
    mail_sent.disconnect(hear, sender=worker.app)


def register(runtime: Runtime, *message_ids: str) -> list[DeliveryReport]:
    """Deliveries of these ids, and for each a report that it was sent."""
    now = utcnow()
    runtime.store.register([Delivery(message_id=each, created_at=now, updated_at=now) for each in message_ids])
    return [sent(each, now) for each in message_ids]


def sent(message_id: str, at: datetime) -> DeliveryReport:
    return DeliveryReport(kind=Kind.SENT, message_id=message_id, at=at, raw={"id": message_id, "sent_ts": 1})


def ids_in(messages: Sequence[Message]) -> list[list[str]]:
    return [[report["message_id"] for report in message.args[0]] for message in messages]


def later(worker: MemoryWorker, *, seconds: float) -> datetime:
    now = utcnow() + timedelta(seconds=seconds)
    worker.runtime.store.clock = lambda: now
    return now


def test_its_task_takes_the_claim_over_and_dispatches_at_once(worker: MemoryWorker, heard: list[str]) -> None:
    publisher_of(worker.runtime)(register(worker.runtime, "m1", "m2"))
    found = [one for one in worker.runtime.store.get_many(["m1", "m2"]) if one is not None]
    assert [is_undispatched(one.history[0]) for one in found] == [True, True], "it is recorded before any worker runs"
    messages = worker.take()
    assert ids_in(messages) == [["m1", "m2"]]
    assert [worker.run(message) for message in messages] == ["SUCCESS"]
    assert sorted(heard) == ["m1", "m2"]
    assert worker.run_all() == [], "nothing is left to wait for"


def test_what_the_broker_loses_is_swept_up_and_dispatched_once(worker: MemoryWorker, heard: list[str]) -> None:
    publisher_of(worker.runtime)(register(worker.runtime, "m1"))
    (lost,) = worker.take()
    early = later(worker, seconds=OUTBOX_SECONDS)
    assert sweep(worker.runtime, now=early, limit=10) == 0, "its task may still wait in the queue"
    late = later(worker, seconds=OUTBOX_SECONDS + PATIENCE.total_seconds() + 1)
    assert sweep(worker.runtime, now=late, limit=10) == 1
    worker.run_all()
    assert heard == ["m1"]
    # It was only late.
    worker.run(lost)
    worker.run_all()
    assert heard == ["m1"]


def test_reports_that_come_again_are_not_published_again(worker: MemoryWorker, heard: list[str]) -> None:
    reports = register(worker.runtime, "m1", "m2")
    publisher = publisher_of(worker.runtime)
    publisher(reports)
    publisher([*reports, *reports, *register(worker.runtime, "m3")])
    messages = worker.take()
    assert ids_in(messages) == [["m1", "m2"], ["m3"]]
    for message in messages:
        worker.run(message)
    publisher(reports)
    assert worker.take() == []
    assert sorted(heard) == ["m1", "m2", "m3"]


def test_what_the_broker_refuses_is_published_when_it_comes_again(worker: MemoryWorker, heard: list[str]) -> None:
    reports = register(worker.runtime, "m1")
    publisher = publisher_of(worker.runtime)
    down = patch.object(worker.runtime.producers, "acquire", side_effect=OperationalError("the broker is down"))
    with down, pytest.raises(OperationalError, match="the broker is down"):
        publisher(reports)
    publisher(reports)
    worker.run_all()
    assert heard == ["m1"]


def test_without_its_store_nothing_is_published_nor_acknowledged(worker: MemoryWorker) -> None:
    reports = register(worker.runtime, "m1")
    with (
        patch.object(MemoryStore, "record", side_effect=StoreError("the store is away")),
        pytest.raises(StoreError, match="the store is away"),
    ):
        publisher_of(worker.runtime)(reports)
    assert worker.take() == []


def test_reports_of_unknown_messages_wait_in_the_broker_as_ever(worker: MemoryWorker, heard: list[str]) -> None:
    publisher_of(worker.runtime)([sent("unknown", utcnow())])
    assert worker.runtime.store.get("unknown") is None
    messages = worker.take()
    assert ids_in(messages) == [["unknown"]]
    register(worker.runtime, "unknown")
    worker.run(messages[0])
    assert heard == ["unknown"]


def test_a_report_that_comes_too_late_is_noted_and_not_published(
    worker: MemoryWorker, caplog: pytest.LogCaptureFixture
) -> None:
    (report,) = register(worker.runtime, "m1")
    failed = DeliveryReport(kind=Kind.ERROR, message_id="m1", at=report.at, reason="given up", raw={"id": "m1"})
    worker.runtime.store.record([failed], claim="another")
    publisher_of(worker.runtime)([report])
    assert worker.take() == []
    found = worker.runtime.store.get("m1")
    assert found is not None
    assert [entry.report.kind for entry in found.history] == [Kind.ERROR, Kind.SENT]
    assert "message m1: sent report is stale" in caplog.text


class DefaultStore(MemoryStore):
    has_outbox_by_default = True


@pytest.mark.parametrize(
    ("outbox", "is_default", "is_kept"),
    [(None, False, False), (None, True, True), (True, False, True), (False, True, False)],
)
def test_reports_are_kept_where_mails_are(outbox: bool | None, is_default: bool, is_kept: bool) -> None:
    conf = {} if outbox is None else {"mail_proxy_outbox": outbox}
    with memory_worker(**conf) as worker:
        worker.runtime.store = (DefaultStore if is_default else MemoryStore)(Retention())
        publisher_of(worker.runtime)(register(worker.runtime, "m1"))
        found = worker.runtime.store.get("m1")
        assert found is not None
        assert bool(found.history) is is_kept
        (message,) = worker.take()
        assert ("after" in message.kwargs) is is_kept


def test_a_broker_that_confirms_needs_no_second_copy() -> None:
    with memory_worker(broker_url="pyamqp://127.0.0.1:1//", mail_proxy_outbox=True) as worker:
        publisher = publisher_of(worker.runtime)
        with patch.object(MemoryStore, "record") as record, pytest.raises(OperationalError):
            publisher([sent("m1", utcnow())])
        record.assert_not_called()
