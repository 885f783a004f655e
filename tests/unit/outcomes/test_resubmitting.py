"""What the proxy has lost is submitted again from the kept arguments of a suspended result."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.deliveries.suspension import Suspension
from celery_mailproxy.dispatch.resumer import capture_message
from celery_mailproxy.outcomes.reconciling import reconcile
from celery_mailproxy.outcomes.tally import Tally
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.tasks.sending.outbox import entry_of
from celery_mailproxy.testing import FakeProxy
from tests.harness.proxy_conf import proxy_conf

MAIL: dict[str, Any] = {
    "to": ["ann@example.com", "bob@example.com"],
    "subject": "S",
    "body": "B",
    "from_email": "shop@example.com",
}

LONG_AGO = utcnow() - timedelta(days=1)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


@pytest.fixture
def app(proxy: FakeProxy) -> Iterator[Celery]:
    app = Celery("shop", set_as_current=False, broker="memory://", task_always_eager=True)
    app.conf.update(
        **proxy_conf(proxy),
        mail_proxy_store=f"memory://{uuid4()}",
    )
    yield app
    forget_runtime(app)
    app.close()


def wait_for_mail(app: Celery, *, args_bytes: int = 10_000, **kwargs: Any) -> None:
    """A day ago: a task of `deliver_via_proxy` with the id `t` began to wait for its mail."""
    store = get_runtime(app).store
    store.clock = lambda: LONG_AGO
    task = app.tasks[task_names.DELIVER]
    info = {"exchange": "", "routing_key": "celery"}
    task.push_request(id="t", args=[], kwargs=kwargs, delivery_info=info, retries=0, headers={})
    message = capture_message(task, ignore_result=False, args_bytes=args_bytes, queue=None)
    task.pop_request()
    is_for_each = kwargs.get("per_recipient", False)
    mail = delivery(app, "t", suspension=Suspension(owner="t", since=LONG_AGO, message=message))
    if is_for_each:
        members = tuple(MAIL["to"])
        mail = delivery(app, "t", suspension=mail.suspension, members=members)
    store.register([mail])
    store.record_submitted(DeliveryReport(kind=Kind.QUEUED, message_id="t", at=LONG_AGO), claim="t")
    for message_id in mail.member_ids:
        store.register([delivery(app, message_id, parent_id="t")])
        store.record([DeliveryReport(kind=Kind.QUEUED, message_id=message_id, at=LONG_AGO)], claim="t")
    store.clock = utcnow


def delivery(app: Celery, message_id: str, **fields: Any) -> Delivery:
    place = {"tenant_id": app.conf.mail_proxy_tenant, "account_id": app.conf.mail_proxy_account}
    return Delivery(message_id=message_id, created_at=LONG_AGO, updated_at=LONG_AGO, task_id="t", **{**place, **fields})


def submitted(proxy: FakeProxy) -> list[tuple[str, Any]]:
    return sorted((mail["id"], mail["to"]) for mail in proxy.received)


def test_a_mail_whose_result_waits_is_submitted_again_under_its_id(app: Celery, proxy: FakeProxy) -> None:
    wait_for_mail(app, **MAIL, collect=True)
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, resubmitted=1)
    assert submitted(proxy) == [("t", ["ann@example.com", "bob@example.com"])]
    found = get_runtime(app).store.get("t")
    assert found is not None
    assert found.status is Status.QUEUED
    assert reconcile(get_runtime(app)) == Tally()


def test_each_recipients_own_message_is_submitted_again(app: Celery, proxy: FakeProxy) -> None:
    wait_for_mail(app, **MAIL, per_recipient=True)
    assert reconcile(get_runtime(app)) == Tally(looked_at=2, resubmitted=2)
    assert [message_id for message_id, _ in submitted(proxy)] == ["t-0", "t-1"]


def test_whoever_must_not_get_mail_gets_none_the_second_time_either(app: Celery, proxy: FakeProxy) -> None:
    app.conf.mail_proxy_redirect_to = ["staging@example.com"]
    wait_for_mail(app, **MAIL)
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, resubmitted=1)
    ((_, to),) = submitted(proxy)
    assert "ann@example.com" not in str(to)
    assert "staging@example.com" in str(proxy.received)


def keep_in_outbox(app: Celery, task_id: str, name: str, args: Any, kwargs: Any) -> None:
    entry = entry_of(app.tasks[name], args, kwargs, task_id=task_id, options={}, seconds=60)
    get_runtime(app).store.outbox.put([entry])


def submitted_long_ago(app: Celery, *message_ids: str) -> None:
    store = get_runtime(app).store
    store.clock = lambda: LONG_AGO
    store.register([delivery(app, each) for each in message_ids])
    store.record([DeliveryReport(kind=Kind.QUEUED, message_id=each, at=LONG_AGO) for each in message_ids], claim="t")
    store.clock = utcnow


def test_a_mail_whose_task_is_in_the_outbox_is_submitted_again(app: Celery, proxy: FakeProxy) -> None:
    submitted_long_ago(app, "t")
    keep_in_outbox(app, "t", task_names.SEND, (), MAIL)
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, resubmitted=1)
    assert submitted(proxy) == [("t", ["ann@example.com", "bob@example.com"])]


def test_a_mail_of_a_list_in_the_outbox_is_submitted_again(app: Celery, proxy: FakeProxy) -> None:
    submitted_long_ago(app, "own", "t-1")
    mails = [{**MAIL, "message_id": "own"}, MAIL, {**MAIL, "message_id": "third"}]
    keep_in_outbox(app, "t", task_names.SEND_MANY, (mails,), {})
    assert reconcile(get_runtime(app)) == Tally(looked_at=2, resubmitted=2)
    assert [message_id for message_id, _ in submitted(proxy)] == ["own", "t-1"]


def test_another_ones_entry_in_the_outbox_submits_nothing(app: Celery, proxy: FakeProxy) -> None:
    submitted_long_ago(app, "t")
    get_runtime(app).store.outbox.put([OutboxEntry(task_id="t", content="nonsense", due_at=LONG_AGO)])
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, unknown=1)
    assert submitted(proxy) == []


def test_arguments_that_were_too_large_to_be_kept_submit_nothing(app: Celery, proxy: FakeProxy) -> None:
    wait_for_mail(app, **MAIL, args_bytes=10)
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, unknown=1)
    assert submitted(proxy) == []


def test_a_mail_that_could_not_be_sent_today_is_given_up(app: Celery, proxy: FakeProxy) -> None:
    wait_for_mail(app, **MAIL, server="marketing")
    assert reconcile(get_runtime(app)) == Tally(looked_at=1, unknown=1)
    assert submitted(proxy) == []
