"""The mails of a revoked or expired task end, whichever task it is, and only those that nobody else may send."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.signals import task_revoked

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks, and connects the handler
from celery_mailproxy import Delivery, DeliveryReport, Kind, Status
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.suspension import Suspension, SuspensionState
from celery_mailproxy.dispatch.resumer import RESUME_HEADER
from celery_mailproxy.errors import StoreError
from celery_mailproxy.runtime import forget_runtime, get_runtime

MAIL: dict[str, Any] = {"to": ["ann@example.com"], "subject": "s", "body": "b", "from_email": "shop@example.com"}


@pytest.fixture
def app() -> Iterator[Celery]:
    app = Celery("revoked", broker="memory://", set_as_current=False)
    app.conf.update(
        mail_proxy_url="http://127.0.0.1:9", mail_proxy_store=f"memory://{uuid4()}", mail_proxy_events=False
    )
    yield app
    forget_runtime(app)
    app.close()


def register(app: Celery, *message_ids: str, task_id: str, **fields: Any) -> None:
    now = utcnow()
    get_runtime(app).store.register(
        [Delivery(message_id=each, created_at=now, updated_at=now, task_id=task_id, **fields) for each in message_ids]
    )


def revoke(
    app: Celery,
    name: str,
    *args: Any,
    task_id: str = "t",
    expired: bool = False,
    headers: dict[str, Any] | None = None,
    **kwargs: Any,
) -> None:
    fields: dict[str, Any] = {"id": task_id, "args": args, "kwargs": kwargs, "retries": 1, "delivery_info": {}}
    request = SimpleNamespace(**fields, group="g", **(headers or {}))
    task_revoked.send(sender=app.tasks[name], request=request, terminated=False, expired=expired, signum=None)


def status_of(app: Celery, message_id: str) -> Status:
    delivery = get_runtime(app).store.get(message_id)
    assert delivery is not None
    return delivery.status


@pytest.mark.parametrize("expired", [False, True])
def test_a_single_mail_ends_with_the_reason(app: Celery, expired: bool) -> None:
    register(app, "t", task_id="t")
    revoke(app, task_names.SEND, expired=expired, **MAIL)
    delivery = get_runtime(app).store.get("t")
    assert delivery is not None
    what = "expired" if expired else "was revoked"
    assert (delivery.status, delivery.reason) == (Status.ERROR, f"the task {what} before the email was sent")


def test_each_mail_of_a_list_ends(app: Celery) -> None:
    register(app, "t-0", "own", task_id="t")
    revoke(app, task_names.SEND_MANY, [MAIL, {**MAIL, "message_id": "own"}])
    assert {status_of(app, each) for each in ("t-0", "own")} == {Status.ERROR}


def test_a_mail_ends_whose_result_waits_for_it(app: Celery) -> None:
    register(app, "t", task_id="t", suspension=Suspension(owner="t", since=utcnow()))
    revoke(app, task_names.DELIVER, **MAIL)
    assert status_of(app, "t") is Status.ERROR


def suspension_of(app: Celery, message_id: str) -> Suspension:
    delivery = get_runtime(app).store.get(message_id)
    assert delivery is not None
    assert delivery.suspension is not None
    return delivery.suspension


@pytest.mark.parametrize("expired", [False, True])
def test_nothing_resumes_a_result_that_is_revoked(app: Celery, expired: bool) -> None:
    """Celery has stored REVOKED: a link that runs after it would be a lie."""
    register(app, "t", task_id="t", suspension=Suspension(owner="t", since=utcnow(), message="{}"))
    revoke(app, task_names.DELIVER, expired=expired, **MAIL)
    assert suspension_of(app, "t").state is SuspensionState.DONE
    assert get_runtime(app).store.stalled(before=utcnow() + timedelta(days=1)) == []


def test_a_result_that_is_revoked_as_it_is_resumed_is_over(app: Celery) -> None:
    suspension = Suspension(owner="t", since=utcnow(), message="{}", state=SuspensionState.PUBLISHED)
    register(app, "t", task_id="t", status=Status.SENT, suspension=suspension)
    revoke(app, task_names.DELIVER, **MAIL)
    assert suspension_of(app, "t").state is SuspensionState.DONE
    assert status_of(app, "t") is Status.SENT


def test_a_result_is_over_though_its_arguments_were_left_out(app: Celery) -> None:
    """Only the header of the message that resumes it names its mail."""
    suspension = Suspension(owner="t", since=utcnow(), message="{}", state=SuspensionState.PUBLISHED)
    register(app, "own", task_id="t", status=Status.SENT, suspension=suspension)
    revoke(app, task_names.DELIVER, headers={RESUME_HEADER: {"id": "own", "token": "t1"}})
    assert suspension_of(app, "own").state is SuspensionState.DONE
    assert get_runtime(app).store.stalled(before=utcnow() + timedelta(days=1)) == []


@pytest.mark.parametrize("own", [{}, {"message_id": "own"}])
@pytest.mark.parametrize("is_left_out", [False, True])
def test_the_result_of_a_task_that_only_joins_its_mail_is_over(
    app: Celery, own: dict[str, Any], is_left_out: bool
) -> None:
    message_id = own.get("message_id", "g-c-1")
    suspension = Suspension(owner="t", since=utcnow(), message="{}", state=SuspensionState.PUBLISHED)
    register(app, message_id, task_id="t", status=Status.SENT, suspension=suspension)
    arguments = {} if is_left_out else {"campaign": "c", "index": 1, **own}
    revoke(app, task_names.DELIVER_FROM_CHUNK, headers={RESUME_HEADER: {"id": message_id, "token": "t1"}}, **arguments)
    assert suspension_of(app, message_id).state is SuspensionState.DONE
    assert status_of(app, message_id) is Status.SENT


def test_a_mail_goes_on_whose_joining_task_is_revoked(app: Celery) -> None:
    """Another task sends it."""
    register(app, "g-c-1", task_id="t", suspension=Suspension(owner="t", since=utcnow()))
    revoke(app, task_names.DELIVER_FROM_CHUNK, campaign="c", index=1)
    assert status_of(app, "g-c-1") is Status.NEW


def test_a_result_that_follows_a_mail_at_the_proxy_goes_on(app: Celery) -> None:
    suspension = Suspension(owner="t", since=utcnow(), message="{}", state=SuspensionState.WAITING)
    register(app, "t", task_id="t", status=Status.QUEUED, suspension=suspension)
    revoke(app, task_names.DELIVER, **MAIL)
    assert suspension_of(app, "t").state is SuspensionState.WAITING


def test_every_mail_of_a_chunk_ends_though_other_tasks_registered_them(app: Celery) -> None:
    for index in range(2):
        owner = f"t{index}"
        register(app, f"g-c-{index}", task_id=owner, suspension=Suspension(owner=owner, since=utcnow()))
    revoke(app, task_names.DELIVER_FROM_CHUNK, campaign="c", index=0, messages=[MAIL, MAIL])
    assert {status_of(app, f"g-c-{index}") for index in range(2)} == {Status.ERROR}


def test_the_mails_to_each_recipient_end(app: Celery) -> None:
    register(app, "t", task_id="t", members=("ann@example.com", "bob@example.com"))
    register(app, "t-0", "t-1", task_id="t", parent_id="t")
    revoke(app, task_names.SEND, per_recipient=True, **MAIL)
    assert {status_of(app, f"t-{index}") for index in range(2)} == {Status.ERROR}


def test_a_mail_that_the_proxy_has_goes_on(app: Celery) -> None:
    register(app, "t", task_id="t")
    store = get_runtime(app).store
    store.record([DeliveryReport(kind=Kind.QUEUED, message_id="t", at=utcnow())], claim="t")
    revoke(app, task_names.SEND, **MAIL)
    assert status_of(app, "t") is Status.QUEUED


def test_a_mail_of_another_task_goes_on(app: Celery) -> None:
    register(app, "m", task_id="another")
    revoke(app, task_names.SEND, message_id="m", **MAIL)
    assert status_of(app, "m") is Status.NEW


def test_a_mail_that_no_worker_began_with_leaves_no_delivery(app: Celery) -> None:
    revoke(app, task_names.SEND, **MAIL)
    assert get_runtime(app).store.get("t") is None


def test_a_task_that_sends_no_mail_is_left_alone(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    register(app, "t", task_id="t")
    revoke(app, task_names.PRUNE)
    assert status_of(app, "t") is Status.NEW
    # A handler of Celery's that raises is logged.
    assert caplog.records == []


def test_a_store_that_fails_stops_no_worker(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    class Away:
        def get_many(self, message_ids: Any) -> Any:
            raise StoreError("the store is away")

    runtime = get_runtime(app)
    runtime.__dict__["store"] = Away()
    revoke(app, task_names.SEND, **MAIL)
    assert "messages t could not be ended" in caplog.text
