"""The relay: what it publishes, when, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry, Turn
from celery_mailproxy.dispatch.resumer import OUTBOX_HEADER
from celery_mailproxy.maintenance import relay as module
from celery_mailproxy.maintenance.relay import relay
from tests.harness.memory_worker import MemoryWorker, memory_worker

MAIL = {"to": ["ann@example.com"], "subject": "S", "body": "B"}
FAR = datetime(2100, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def worker() -> Iterator[MemoryWorker]:
    with memory_worker(mail_proxy_outbox=True, mail_proxy_outbox_seconds=100) as worker:
        yield worker


def lost(worker: MemoryWorker, **options: Any) -> str:
    """A mail whose message the broker has lost, and which is due."""
    result = worker.task("celery_mailproxy.send_via_proxy").apply_async(kwargs=MAIL, **options)
    worker.take()
    make_due(worker, result.id)
    return str(result.id)


def make_due(worker: MemoryWorker, *task_ids: str) -> None:
    entries = [each for each in kept(worker) if each.task_id in task_ids]
    worker.runtime.store.outbox.reschedule(entries, due_at=utcnow() - timedelta(seconds=1))


def run(worker: MemoryWorker) -> int:
    return relay(worker.runtime, lambda: True)


def kept(worker: MemoryWorker) -> list[OutboxEntry]:
    return worker.runtime.store.outbox.due(now=FAR, limit=1000)


def test_what_is_due_is_published_and_nothing_else(worker: MemoryWorker) -> None:
    task_id = lost(worker)
    worker.task("celery_mailproxy.send_via_proxy").delay(**MAIL)
    worker.take()
    assert run(worker) == 1
    (message,) = worker.take()
    assert (message.task_id, message.headers[OUTBOX_HEADER]) == (task_id, 1)
    assert run(worker) == 0


def test_each_copy_waits_twice_as_long_as_the_one_before_and_a_day_at_most(worker: MemoryWorker) -> None:
    task_id = lost(worker)
    waits = []
    for number in range(1, 13):
        assert run(worker) == 1
        (entry,) = kept(worker)
        assert entry.copies == number
        waits.append(round((entry.due_at - utcnow()).total_seconds() / 100))
        make_due(worker, task_id)
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 864, 864, 864]
    assert [message.headers[OUTBOX_HEADER] for message in worker.take()] == list(range(1, 13))


def test_more_than_a_page_is_published(worker: MemoryWorker) -> None:
    with patch.object(module, "_PAGE", 3):
        ids = {lost(worker) for _ in range(7)}
        assert run(worker) == 7
    assert {message.task_id for message in worker.take()} == ids


def test_who_has_no_time_stops_between_pages(worker: MemoryWorker) -> None:
    turns = iter([True, True, False])
    with patch.object(module, "_PAGE", 2):
        for _ in range(7):
            lost(worker)
        assert relay(worker.runtime, lambda: next(turns)) == 4


def test_a_broker_that_is_down_leaves_all_as_it_is(worker: MemoryWorker) -> None:
    lost(worker)
    before = kept(worker)
    down = OperationalError("refused")
    with patch.object(module, "_reach_broker", side_effect=down), pytest.raises(OperationalError):
        run(worker)
    assert kept(worker) == before
    assert run(worker) == 1


def test_what_the_broker_does_not_take_is_due_at_once_under_another_number(worker: MemoryWorker) -> None:
    lost(worker)
    down = OperationalError("refused")
    with patch.object(module, "publish_kept", side_effect=down), pytest.raises(OperationalError):
        run(worker)
    # Perhaps it has taken it after all, and two copies of one number would both run.
    assert run(worker) == 1
    (message,) = worker.take()
    assert message.headers[OUTBOX_HEADER] == 2


def test_a_run_that_begins_after_the_page_was_read_keeps_the_turn(worker: MemoryWorker) -> None:
    send = worker.task("celery_mailproxy.send_via_proxy")
    result = send.delay(**MAIL)
    (first,) = worker.take()
    make_due(worker, result.id)
    outbox = worker.runtime.store.outbox

    def begin(*arguments: Any) -> None:
        outbox.begin(result.id, 0, due_at=FAR)

    with patch.object(module, "_reach_broker", begin):
        assert run(worker) == 0
    assert worker.take() == []
    assert outbox.begin(first.task_id, 1, due_at=FAR) is Turn.OTHERS
    assert outbox.begin(first.task_id, 0, due_at=FAR) is Turn.MINE


def test_a_run_that_begins_while_its_publication_seems_to_fail_keeps_the_turn(worker: MemoryWorker) -> None:
    task_id = lost(worker)
    outbox = worker.runtime.store.outbox

    def publish(*arguments: Any, copy: int) -> None:
        outbox.begin(task_id, copy, due_at=FAR)
        raise OperationalError("no confirmation")

    with patch.object(module, "publish_kept", publish), pytest.raises(OperationalError):
        run(worker)
    assert run(worker) == 0
    assert outbox.begin(task_id, 1, due_at=FAR) is Turn.MINE


def test_many_copies_wait_no_longer_than_a_day(worker: MemoryWorker) -> None:
    task_id = lost(worker)
    (entry,) = kept(worker)
    worker.runtime.store.outbox.drop([task_id])
    worker.runtime.store.outbox.put([replace(entry, copies=5000)])
    assert run(worker) == 1
    (entry,) = kept(worker)
    assert entry.due_at <= utcnow() + timedelta(days=1)


def test_one_bad_entry_does_not_hold_up_the_others(worker: MemoryWorker, caplog: pytest.LogCaptureFixture) -> None:
    bad = OutboxEntry(task_id="bad", content="ann@example.com", due_at=utcnow() - timedelta(hours=1))
    worker.runtime.store.outbox.put([bad])
    task_id = lost(worker)
    assert run(worker) == 1
    assert [message.task_id for message in worker.take()] == [task_id]
    assert "task bad cannot be published" in caplog.text
    assert "ann@" not in caplog.text
    # It is looked at again, but not at each round.
    assert run(worker) == 0
    assert len(kept(worker)) == 2


def test_an_expired_mail_ends_and_is_not_published(worker: MemoryWorker) -> None:
    expires = utcnow() + timedelta(hours=1)
    task_id = lost(worker, expires=expires)
    store = worker.runtime.store
    now = utcnow()
    store.register([Delivery(message_id=task_id, created_at=now, updated_at=now, task_id=task_id)])
    with patch.object(module, "utcnow", lambda: expires + timedelta(seconds=1)):
        assert run(worker) == 0
    assert kept(worker) == []
    assert worker.take() == []
    delivery = store.get(task_id)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (Status.ERROR, "the task expired before the email was sent")


def test_a_mail_that_another_task_has_registered_does_not_end_with_this_one(worker: MemoryWorker) -> None:
    task_id = lost(worker, expires=0.001)
    now = utcnow()
    worker.runtime.store.register([Delivery(message_id=task_id, created_at=now, updated_at=now, task_id="another")])
    run(worker)
    delivery = worker.runtime.store.get(task_id)
    assert delivery is not None
    assert delivery.status is Status.NEW


def in_61_days() -> Any:
    return patch.object(module, "utcnow", lambda: utcnow() + timedelta(days=61))


def test_what_nobody_begins_with_ends_as_error_when_a_delivery_would_be_forgotten(
    worker: MemoryWorker, caplog: pytest.LogCaptureFixture
) -> None:
    mail = {**MAIL, "on_error": worker.app.signature("shop.alert")}
    result = worker.task("celery_mailproxy.send_via_proxy").delay(**mail)
    worker.take()
    make_due(worker, result.id)
    with in_61_days():
        assert run(worker) == 0
    assert kept(worker) == []
    assert [message.name for message in worker.take()] == ["shop.alert"]
    delivery = worker.runtime.store.get(result.id)
    assert delivery is not None
    assert delivery.status is Status.ERROR
    assert delivery.reason == "given up: its task has waited in the outbox for 60 days"
    assert f"task {result.id} is dropped from the outbox: no worker has finished it in 60 days" in caplog.text


def test_what_is_given_up_waits_for_the_broker(worker: MemoryWorker) -> None:
    lost(worker)
    down = OperationalError("refused")
    with in_61_days():
        with patch.object(module, "end_mails", side_effect=down), pytest.raises(OperationalError):
            run(worker)
        assert len(kept(worker)) == 1
        assert run(worker) == 0
    assert kept(worker) == []


def test_a_task_that_this_process_does_not_know_is_given_up_without_its_mails(worker: MemoryWorker) -> None:
    lost(worker)
    del worker.app.tasks["celery_mailproxy.send_via_proxy"]
    with in_61_days():
        assert run(worker) == 0
    assert kept(worker) == []


def test_a_task_that_this_process_does_not_know_is_published_all_the_same(worker: MemoryWorker) -> None:
    task_id = lost(worker)
    del worker.app.tasks["celery_mailproxy.send_via_proxy"]
    assert run(worker) == 1
    assert [message.task_id for message in worker.take()] == [task_id]
