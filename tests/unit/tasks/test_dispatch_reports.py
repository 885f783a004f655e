"""The task `dispatch_reports`: what a run knows and nobody else goes with its retry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from kombu.exceptions import OperationalError

from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch import handing_over
from celery_mailproxy.dispatch.postponing import Postponer
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.errors import StoreError
from tests.harness.memory_worker import MemoryWorker, memory_worker

IDS = ("m1", "m2")


@pytest.fixture
def worker() -> Iterator[MemoryWorker]:
    with memory_worker() as worker:
        yield worker


@pytest.fixture
def heard(worker: MemoryWorker) -> Iterator[list[str]]:
    heard: list[str] = []

    def handle(report: DeliveryReport, **kwargs: Any) -> None:
        heard.append(report.message_id)

    mail_sent.connect(handle, sender=worker.app, weak=False)
    yield heard
    mail_sent.disconnect(handle, sender=worker.app)


def test_a_note_that_neither_store_nor_broker_takes_goes_with_the_retry(
    worker: MemoryWorker, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handing_over, "_PATIENCE_SECONDS", 0.0)
    now = utcnow()
    worker.runtime.store.register([Delivery(message_id=each, created_at=now, updated_at=now) for each in IDS])
    reports = [
        DeliveryReport(kind=Kind.SENT, message_id=each, at=now + timedelta(seconds=number)).to_json()
        for number, each in enumerate(IDS)
    ]
    worker.task(task_names.DISPATCH).apply_async((reports,))
    (message,) = worker.take()
    with (
        patch.object(MemoryStore, "mark_dispatched", side_effect=StoreError("away")),
        patch.object(Postponer, "postpone", side_effect=OperationalError("refused")),
    ):
        assert worker.run(message) == "RETRY"
        # And once more: the store is away still, when the next run is to mark.
        (retry,) = worker.take()
        assert worker.run(retry) == "RETRY"
    assert heard == ["m1"]
    assert worker.run_all() == ["SUCCESS"]
    assert heard == list(IDS)
    assert worker.runtime.store.undispatched(before=utcnow()) == []
