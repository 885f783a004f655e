"""The healer on a `FakeProxy`: waiting times, trouble, and that a mail belongs to one run at a time.

`tests/contract/test_healing_contract.py` has what becomes of the mails, on the running proxy, too.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest

from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.errors import ProxyRequestError
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.tasks import healing
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import deferred
from tests.harness.memory_worker import MemoryWorker, memory_worker
from tests.harness.proxy_conf import proxy_conf
from tests.harness.waiting import wait_until

LATER = "451 4.3.0 <ann@example.com> try later"


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        proxy.plan("ann@example.com", deferred(LATER))
        yield proxy


@pytest.fixture
def worker(proxy: FakeProxy) -> Iterator[MemoryWorker]:
    conf = {
        **proxy_conf(proxy),
    }
    with memory_worker(**conf) as worker:
        yield worker


def send(worker: MemoryWorker, proxy: FakeProxy) -> str:
    """Send a mail that the proxy defers, and has nested by then."""
    arguments = {"to": ["ann@example.com"], "subject": "S", "body": "B"}
    result = worker.task(task_names.SEND).apply_async(kwargs=arguments)
    worker.run_all()
    wait_until(lambda: proxy.pending_reports, "the deferral")
    return str(result.id)


def note_deferrals(worker: MemoryWorker, message_id: str, *at: datetime) -> None:
    reports = [DeliveryReport(kind=Kind.DEFERRED, message_id=message_id, at=each, reason=LATER) for each in at]
    dispatcher_of(worker.runtime).dispatch(reports)
    worker.take()


def status(worker: MemoryWorker, message_id: str) -> Status:
    delivery = worker.runtime.store.get(message_id)
    assert delivery is not None
    return delivery.status


@pytest.mark.parametrize(("times", "seconds"), [(1, 60), (2, 300), (3, 900), (4, 3600), (5, 7200)])
def test_a_mail_waits_as_long_as_the_proxy_means_it_to(
    worker: MemoryWorker, proxy: FakeProxy, times: int, seconds: int
) -> None:
    message_id = send(worker, proxy)
    last = datetime(2026, 11, 28, 15, tzinfo=timezone.utc)
    note_deferrals(worker, message_id, *(last - timedelta(days=each) for each in range(times)))
    healing.healer_of(worker.runtime).heal(message_id)
    first, again = proxy.received
    assert again == {**first, "deferred_ts": last.timestamp() + seconds}


def test_a_mail_that_waits_no_longer_is_given_up(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, *(utcnow() - timedelta(days=each) for each in range(6)))
    healing.healer_of(worker.runtime).heal(message_id)
    delivery = worker.runtime.store.get(message_id)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (Status.ERROR, f"given up after 6 attempts: {LATER}")
    assert proxy.messages(proxy.tenant_id) == []


def test_who_is_killed_before_the_end_is_recorded_records_it_later(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, *(utcnow() - timedelta(days=each) for each in range(6)))
    worker.runtime.client().delete_messages(proxy.tenant_id, [message_id])
    healing.healer_of(worker.runtime).heal(message_id)
    assert status(worker, message_id) is Status.ERROR


def test_two_runs_do_not_heal_one_mail_at_once(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, utcnow())
    store = worker.runtime.store
    assert store.take_lease(f"healing.{message_id}", "another", seconds=60)
    worker.task(task_names.HEAL).apply_async((message_id,))
    (message,) = worker.take()
    assert worker.run(message) == "RETRY"
    assert len(proxy.received) == 1
    # It has come to its end, or was killed.
    assert store.take_lease(f"healing.{message_id}", "another", seconds=0)
    assert worker.run_all() == ["SUCCESS"]
    assert len(proxy.received) == 2
    assert store.get_value(f"lease.healing.{message_id}") is None


def test_who_has_lost_the_mail_to_another_run_stops(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, utcnow())
    store = worker.runtime.store
    row = ProxyClient.row

    def slow(client: ProxyClient, *args: Any) -> Any:
        # This process stands still, and another one takes the mail over.
        found = row(client, *args)
        store.set_value(f"lease.healing.{message_id}", f'["another", {utcnow().timestamp() + 60}]')
        return found

    with patch.object(ProxyClient, "row", slow), pytest.raises(healing.HealingElsewhere):
        healing.healer_of(worker.runtime).heal(message_id)
    assert len(proxy.received) == 1


def test_who_has_stood_still_does_not_go_on_with_what_it_has_read(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, utcnow())
    runtime = worker.runtime
    # The lease is free again after that: another run has had it, and has given it back.
    moments = iter([0.0, runtime.server().timeout_seconds + 6])
    healer = healing.Healer(
        store=runtime.store,
        client_for=runtime.client,
        dispatcher=dispatcher_of(runtime),
        monotonic=lambda: next(moments),
    )
    with pytest.raises(healing.HealingElsewhere) as caught:
        healer.heal(message_id)
    assert str(pickle.loads(pickle.dumps(caught.value))) == f"message {message_id} is being healed by another run"
    assert len(proxy.received) == 1


def test_a_mail_that_was_withdrawn_meanwhile_is_not_added_again(worker: MemoryWorker, proxy: FakeProxy) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, utcnow())
    wait_until(lambda: proxy.messages(proxy.tenant_id)[0]["deferred_ts"], "the deferral")
    lost = DeliveryReport(kind=Kind.ERROR, message_id=message_id, at=utcnow(), reason="missing 'from'")
    dispatcher_of(worker.runtime).dispatch([lost])
    give_back = ProxyClient.give_back
    cancelled = DeliveryReport(kind=Kind.CANCELLED, message_id=message_id, at=utcnow())

    def cancelling(client: ProxyClient, message: Any) -> bool:
        dispatcher_of(worker.runtime).dispatch([cancelled])
        return give_back(client, message)

    with (
        patch.object(healing, "is_ended", return_value=True),
        patch.object(ProxyClient, "give_back", cancelling),
    ):
        healing.healer_of(worker.runtime).heal(message_id)
    assert proxy.messages(proxy.tenant_id) == []
    assert status(worker, message_id) is Status.CANCELLED


def test_what_the_proxy_refuses_for_good_ends_in_the_end(proxy: FakeProxy, worker: MemoryWorker) -> None:
    worker.app.conf.mail_proxy_max_retries = 1
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, utcnow())
    worker.task(task_names.HEAL).apply_async((message_id,))
    with patch.object(ProxyClient, "give_back", side_effect=ProxyRequestError("too large", 413)):
        assert worker.run_all() == ["RETRY", "SUCCESS"]
    delivery = worker.runtime.store.get(message_id)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (
        Status.ERROR,
        "the proxy damaged the email, and it could not be healed: too large",
    )


def test_an_unknown_mail_and_one_that_has_ended_are_passed_over(worker: MemoryWorker, proxy: FakeProxy) -> None:
    now = utcnow()
    worker.runtime.store.register(
        [Delivery(message_id="sent", created_at=now, updated_at=now, status=Status.SENT, tenant_id=proxy.tenant_id)]
    )
    for message_id in ("sent", "unknown"):
        healing.healer_of(worker.runtime).heal(message_id)
    assert proxy.requests == []


def test_another_release_has_nothing_to_heal() -> None:
    with FakeProxy("commands-0.6") as proxy, memory_worker(mail_proxy_url=proxy.url) as worker:
        now = utcnow()
        one = Delivery(message_id="m", created_at=now, updated_at=now, status=Status.QUEUED, tenant_id=proxy.tenant_id)
        worker.runtime.store.register([one])
        note_deferrals(worker, "m", now)
        healing.healer_of(worker.runtime).heal("m")
        assert proxy.received == []
        assert status(worker, "m") is Status.DEFERRED


def test_nothing_private_is_logged(worker: MemoryWorker, proxy: FakeProxy, caplog: pytest.LogCaptureFixture) -> None:
    message_id = send(worker, proxy)
    note_deferrals(worker, message_id, *(utcnow() - timedelta(days=each) for each in range(6)))
    healing.healer_of(worker.runtime).heal(message_id)
    assert message_id in caplog.text
    assert "ann@example.com" not in caplog.text
