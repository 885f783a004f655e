"""Dispatching asks for healing, and waits for none: what it publishes, and what it makes of a loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
from kombu.exceptions import OperationalError

from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry, utcnow
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.healing import HealingRequests
from celery_mailproxy.dispatch.keeping import report_keeper_of
from celery_mailproxy.dispatch.signals import mail_deferred, mail_error
from tests.harness.memory_worker import MemoryWorker, memory_worker

LATER = "[SMTPRecipientRefused(451, 'later', 'x@example.com')]"
NOW = 1795878331


def reports(message_id: str = "m", **entry: Any) -> list[DeliveryReport]:
    return parse_entry({"id": message_id, **entry})


DEFERRED = reports(deferred_ts=NOW, deferred_reason=LATER)
LOST = reports(error_ts=NOW + 60, error="missing 'from'")


def register(worker: MemoryWorker, *ids: str) -> None:
    now = utcnow()
    fields: dict[str, Any] = {"created_at": now, "updated_at": now, "status": Status.QUEUED, "tenant_id": "acme"}
    worker.runtime.store.register([Delivery(message_id=each, **fields) for each in ids])


def status(worker: MemoryWorker, message_id: str = "m") -> Status | None:
    delivery = worker.runtime.store.get(message_id)
    return delivery.status if delivery else None


@pytest.fixture
def worker() -> Iterator[MemoryWorker]:
    with memory_worker() as worker:
        yield worker


@pytest.fixture
def heard(worker: MemoryWorker) -> Iterator[list[str]]:
    heard: list[str] = []

    def handle(report: DeliveryReport, **kwargs: Any) -> None:
        heard.append(f"{report.kind} of {report.message_id}")

    for signal in (mail_deferred, mail_error):
        signal.connect(handle, sender=worker.app, weak=False)
    yield heard
    for signal in (mail_deferred, mail_error):
        signal.disconnect(handle, sender=worker.app)


def test_a_deferred_mail_is_to_be_healed(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m")
    dispatcher_of(worker.runtime).dispatch(DEFERRED)
    (message,) = worker.take()
    assert (message.name, message.args) == (task_names.HEAL, ["m"])
    assert heard == ["deferred of m"]


@pytest.mark.parametrize(
    "entry",
    [
        {"deferred_ts": NOW, "deferred_reason": "rate_limit"},
        {"deferred_ts": NOW, "deferred_reason": None},
        {"sent_ts": NOW},
        {"error_ts": NOW, "error": "554 refused"},
    ],
)
def test_any_other_mail_is_not(worker: MemoryWorker, entry: dict[str, Any]) -> None:
    register(worker, "m")
    dispatcher_of(worker.runtime).dispatch(reports(**entry))
    assert worker.take() == []


def test_a_lost_mail_is_deferred_and_no_error(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m")
    dispatcher_of(worker.runtime).dispatch(LOST)
    assert [message.name for message in worker.take()] == [task_names.HEAL]
    assert heard == ["deferred of m"]
    assert status(worker) is Status.DEFERRED


def test_a_loss_that_is_found_out_again_is_healed_again(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m")
    dispatcher = dispatcher_of(worker.runtime)
    dispatcher.dispatch(LOST)
    # The broker loses the task.
    worker.take()
    dispatcher.dispatch(LOST)
    assert [message.name for message in worker.take()] == [task_names.HEAL]
    # A deferral that comes twice is none: the mail may have been healed long ago.
    dispatcher.dispatch(reports(deferred_ts=NOW + 90, deferred_reason=LATER))
    worker.take()
    for each in (LOST, reports(deferred_ts=NOW + 90, deferred_reason=LATER)):
        dispatcher.dispatch(each)
    assert worker.take() == []
    assert heard == ["deferred of m"] * 2


def test_in_eager_mode_a_proxy_that_is_away_stops_no_report(
    worker: MemoryWorker, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    register(worker, "m")
    worker.app.conf.update(task_always_eager=True, task_eager_propagates=True)
    dispatcher_of(worker.runtime).dispatch(LOST)
    assert heard == ["deferred of m"]
    assert "message m is not healed: ProxyUnavailable" in caplog.text


def test_a_loss_is_kept_as_a_deferral_before_its_task_is_published(worker: MemoryWorker) -> None:
    register(worker, "m")
    keeper = report_keeper_of(worker.runtime, hold_seconds=60)
    kept = keeper.keep(LOST)
    assert [report.kind for report in kept.reports] == [Kind.DEFERRED]
    assert status(worker) is Status.DEFERRED
    # It comes again, since its task was lost, say.
    worker.runtime.store.mark_dispatched([Dispatched(message_id="m", key=kept.reports[0].key)])
    assert keeper.keep(LOST).reports == []
    assert [message.name for message in worker.take()] == [task_names.HEAL]


def test_a_mail_of_another_application_is_none_of_ours(worker: MemoryWorker, heard: list[str]) -> None:
    dispatcher_of(worker.runtime).dispatch(LOST, adopt=True)
    assert worker.take() == []
    assert heard == ["error of m"]


def test_a_mail_that_has_ended_stays_so(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m")
    dispatcher_of(worker.runtime).dispatch(reports(sent_ts=NOW))
    dispatcher_of(worker.runtime).dispatch(LOST)
    assert worker.take() == []
    assert (status(worker), heard) == (Status.SENT, [])


def test_without_healing_a_loss_is_an_error() -> None:
    with memory_worker(mail_proxy_heal=False) as worker:
        register(worker, "m")
        dispatcher_of(worker.runtime).dispatch(DEFERRED)
        dispatcher_of(worker.runtime).dispatch(LOST)
        assert worker.take() == []
        assert status(worker) is Status.ERROR


def test_a_broker_that_is_away_leaves_the_report_to_the_next_run(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m")
    worker.task(task_names.DISPATCH).apply_async(([report.to_json() for report in LOST],))
    (dispatch,) = worker.take()
    with patch.object(HealingRequests, "ask", side_effect=OperationalError("away")):
        assert worker.run(dispatch) == "RETRY"
    assert heard == []
    (again,) = worker.take()
    assert worker.run(again) == "SUCCESS"
    assert heard == ["deferred of m"]
    assert [message.name for message in worker.take()] == [task_names.HEAL]


def test_reports_are_dispatched_while_the_proxy_is_away(worker: MemoryWorker, heard: list[str]) -> None:
    register(worker, "m", "n")
    several = [*LOST, *reports("n", error_ts=NOW, error="554 refused")]
    worker.task(task_names.DISPATCH).apply_async(([report.to_json() for report in several],))
    dispatch, *rest = worker.take()
    assert worker.run(dispatch) == "SUCCESS"
    assert rest == []
    (message,) = worker.take()
    # Nothing listens at the proxy's port.
    assert worker.run(message) == "RETRY"
    (again,) = worker.take()
    assert (again.name, again.args) == (task_names.HEAL, ["m"])
    assert sorted(heard) == ["deferred of m", "error of n"]
