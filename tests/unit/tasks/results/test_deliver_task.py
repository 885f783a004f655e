"""A resumed run of `deliver_via_proxy` while the store is away: it comes again, with its header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Ignore, Retry

from celery_mailproxy import deliver_via_proxy
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Advanced, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.suspension import Step, Suspension, SuspensionState
from celery_mailproxy.dispatch.resumer import RESUME_HEADER
from celery_mailproxy.errors import StoreError
from celery_mailproxy.runtime import forget_runtime, get_runtime

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
HEADER = {"id": "m", "token": "t1"}


class AwayStore(MemoryStore):
    """Is away for the calls of that name."""

    away = ""

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        self._check("advance")
        return super().advance(message_id, step, token=token)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        self._check("get_many")
        return super().get_many(message_ids)

    def _check(self, name: str) -> None:
        if name == self.away:
            raise StoreError("away for a moment")


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("resumed", broker="memory://", set_as_current=False)
    app.conf.update(mail_proxy_url="http://127.0.0.1:9", mail_proxy_store="memory://", mail_proxy_events=False)
    app.conf.task_default_queue = "resumed-runs"
    yield app
    forget_runtime(app)
    app.close()


@pytest.fixture
def store(app: Celery) -> AwayStore:
    store = AwayStore(Retention())
    get_runtime(app).store = store
    suspension = Suspension(owner="m", since=NOW, state=SuspensionState.WAITING, message="{}")
    fields: dict[str, Any] = {"created_at": NOW, "updated_at": NOW}
    parent = Delivery(message_id="m", members=("ann@example.com",), suspension=suspension, **fields)
    store.register([parent, Delivery(message_id="m-0", parent_id="m", **fields)])
    store.record([DeliveryReport(kind=Kind.SENT, message_id=each, at=NOW) for each in ("m-0", "m")], claim="c")
    return store


def run(app: Celery) -> Any:
    task = app.tasks[deliver_via_proxy.name]
    request = {"id": "m", "called_directly": False, "is_eager": False, "retries": 0, "delivery_info": {}}
    task.push_request(**request, **{RESUME_HEADER: HEADER}, headers={RESUME_HEADER: HEADER}, args=(), kwargs={})
    try:
        return task()
    finally:
        task.pop_request()


@pytest.mark.parametrize("away", ["advance", "get_many"])
def test_it_waits_for_the_store_and_comes_again(app: Celery, store: AwayStore, away: str) -> None:
    store.away = away
    with pytest.raises(Retry):
        run(app)
    with app.connection_for_read() as connection, connection.SimpleQueue("resumed-runs") as queue:
        message = queue.get(block=False)
        message.ack()
    assert (message.headers["id"], message.headers[RESUME_HEADER]) == ("m", HEADER)
    store.away = ""
    assert run(app)["sent"] == ["ann@example.com"]


def test_a_run_whose_record_is_gone_says_so(app: Celery, store: AwayStore, caplog: pytest.LogCaptureFixture) -> None:
    store._shelf.deliveries.clear()
    with pytest.raises(Ignore):
        run(app)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("message m: its result stays as it is: the store has no record of it")


def test_a_copy_of_a_run_says_nothing(app: Celery, store: AwayStore, caplog: pytest.LogCaptureFixture) -> None:
    run(app)
    store.advance("m", Step.FINISH, token="t1")
    with pytest.raises(Ignore):
        run(app)
    assert caplog.records == []
