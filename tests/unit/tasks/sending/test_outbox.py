"""The outbox of plain Celery: what is kept of a task that is published, and which of its copies runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest
from amqp.exceptions import PreconditionFailed  # type: ignore[import-untyped]
from celery import chain, group
from kombu import Queue
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import registry

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.dispatch.resumer import OUTBOX_HEADER
from celery_mailproxy.errors import StoreError
from celery_mailproxy.tasks.sending.outbox import KeptMessage, publish_kept, read_content
from celery_mailproxy.testing import FakeProxy
from tests.harness.memory_worker import MemoryWorker, Message, memory_worker
from tests.harness.proxy_conf import proxy_conf

MAIL = {"to": ["ann@example.com"], "subject": "S", "body": "B"}
FAR = datetime(2100, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


@pytest.fixture
def worker(proxy: FakeProxy) -> Iterator[MemoryWorker]:
    conf = {
        **proxy_conf(proxy),
        "mail_proxy_retry_max_seconds": 1,
    }
    with memory_worker(mail_proxy_outbox=True, **conf) as worker:
        yield worker


def entries(worker: MemoryWorker) -> list[OutboxEntry]:
    return worker.runtime.store.outbox.due(now=FAR, limit=100)


def kept(worker: MemoryWorker) -> KeptMessage:
    (entry,) = entries(worker)
    return read_content(entry.content)


def send(worker: MemoryWorker) -> Any:
    return worker.task("celery_mailproxy.send_via_proxy")


def republished(worker: MemoryWorker, copy: int = 1, queue: str | None = None) -> Message:
    publish_kept(worker.runtime, kept(worker), copy=copy)
    (message,) = worker.take(queue)
    return message


# -------------------------------------------------------------------- what is kept


def test_a_mail_is_kept_before_it_is_published_and_dropped_when_it_is_done(worker: MemoryWorker) -> None:
    before = utcnow()
    result = send(worker).delay(**MAIL)
    (entry,) = entries(worker)
    assert entry.task_id == result.id
    assert timedelta(seconds=119) < entry.due_at - before < timedelta(seconds=150)
    (message,) = worker.take()
    assert message.headers[OUTBOX_HEADER] == 0
    assert worker.run(message) == "SUCCESS"
    assert entries(worker) == []
    assert result.get(timeout=5)["queued"] == 1


def test_the_copy_is_the_same_message(worker: MemoryWorker) -> None:
    call = {
        "kwargs": MAIL,
        "task_id": "t1",
        "link": send(worker).s(to=["bob@example.com"], subject="After", body="B"),
        "headers": {"mine": "1"},
        "priority": 3,
        "expires": 3600,
        "countdown": 0.001,
        "shadow": "mine",
        "ignore_result": True,
        "time_limit": 20,
    }
    send(worker).apply_async(**call)
    (first,) = worker.take()
    again = republished(worker)
    assert (again.args, again.kwargs, again.embed) == (first.args, first.kwargs, first.embed)
    assert again.properties == first.properties
    differing = {name for name in first.headers if first.headers[name] != again.headers.get(name)}
    # Its delay is over by then, and the moment of its expiry was taken a bit earlier.
    assert differing == {OUTBOX_HEADER, "eta", "expires"}
    late = datetime.fromisoformat(first.headers["expires"]) - datetime.fromisoformat(again.headers["expires"])
    assert timedelta(0) <= late < timedelta(seconds=60)
    assert again.headers.keys() == first.headers.keys()


def test_nothing_of_a_mail_is_shown_in_the_copys_headers(worker: MemoryWorker) -> None:
    send(worker).delay(**MAIL)
    worker.take()
    assert "example.com" not in str(republished(worker).headers)


def test_it_is_due_after_its_delay(worker: MemoryWorker) -> None:
    send(worker).apply_async(kwargs=MAIL, countdown=3600)
    send(worker).apply_async(kwargs=MAIL, eta=utcnow() + timedelta(hours=2))
    send(worker).apply_async(kwargs=MAIL, eta=utcnow() - timedelta(hours=2))
    waits = sorted((entry.due_at - utcnow()).total_seconds() for entry in entries(worker))
    assert [round(wait / 60) for wait in waits] == [2, 62, 122]


def test_the_copy_goes_where_the_first_one_went(worker: MemoryWorker) -> None:
    worker.app.conf.task_routes = {"celery_mailproxy.deliver_via_proxy": {"queue": "routed"}}
    worker.task("celery_mailproxy.deliver_via_proxy").delay(**MAIL)
    assert len(worker.take("routed")) == 1
    assert republished(worker, queue="routed").name == "celery_mailproxy.deliver_via_proxy"
    worker.runtime.store.outbox.drop([entry.task_id for entry in entries(worker)])
    send(worker).apply_async(kwargs=MAIL, queue=Queue("own"))
    assert len(worker.take("own")) == 1
    assert republished(worker, queue="own").name == "celery_mailproxy.send_via_proxy"


def test_a_canvas_is_kept_whole(worker: MemoryWorker) -> None:
    deliver = worker.task("celery_mailproxy.deliver_via_proxy")
    steps = chain(deliver.s(**MAIL), send(worker).si(**MAIL), send(worker).si(**MAIL), app=worker.app)
    steps.apply_async(link_error=send(worker).si(**MAIL))
    (first,) = worker.take()
    again = republished(worker)
    assert again.embed == first.embed
    assert len(again.embed["chain"]) == 2
    assert again.headers["root_id"] == first.headers["root_id"]


def test_a_group_keeps_its_place(worker: MemoryWorker) -> None:
    deliver = worker.task("celery_mailproxy.deliver_via_proxy")
    group(deliver.s(**MAIL), app=worker.app).apply_async()
    (first,) = worker.take()
    again = republished(worker)
    assert again.headers["group"] == first.headers["group"] is not None
    assert again.headers["group_index"] == first.headers["group_index"]


def test_each_chunk_of_a_list_is_kept(worker: MemoryWorker) -> None:
    worker.app.conf.mail_proxy_chunk_size = 2
    many = worker.task("celery_mailproxy.send_many_via_proxy")
    many.apply_async(([MAIL, MAIL, MAIL],), task_id="c1")
    assert {entry.task_id for entry in entries(worker)} == {"c1-0", "c1-1"}
    assert worker.run_all() == ["SUCCESS", "SUCCESS"]
    assert entries(worker) == []


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_another_serializer_is_kept(worker: MemoryWorker, serializer: str) -> None:
    result = send(worker).apply_async(kwargs={**MAIL, "body": "Größe 💌\n"}, serializer=serializer)
    worker.take()
    (entry,) = entries(worker)
    assert entry.content.isascii()
    again = republished(worker)
    assert (again.task_id, again.kwargs["body"]) == (result.id, "Größe 💌\n")
    assert again.content_type == registry.name_to_type[serializer]


def test_what_cannot_be_serialised_is_not_kept(worker: MemoryWorker) -> None:
    with pytest.raises(EncodeError):
        send(worker).apply_async(kwargs=MAIL, link=worker.app.signature("other", args=(object(),)))
    assert entries(worker) == []


@pytest.mark.parametrize("conf", [{}, {"mail_proxy_outbox": False}, {"mail_proxy_outbox": None}])
def test_without_the_setting_nothing_is_kept(conf: dict[str, Any]) -> None:
    with memory_worker(**conf) as worker:
        send(worker).delay(**MAIL)
        assert entries(worker) == []
        (message,) = worker.take()
        assert OUTBOX_HEADER not in message.headers


def test_eagerly_nothing_is_kept(worker: MemoryWorker) -> None:
    worker.app.conf.task_always_eager = True
    assert send(worker).delay(**MAIL).get()["queued"] == 1
    assert entries(worker) == []


# -------------------------------------------------------------------- the broker away


def test_while_the_broker_is_away_mails_wait(
    worker: MemoryWorker, proxy: FakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    with patch.object(type(worker.app), "send_task", side_effect=OperationalError("connection refused")):
        result = send(worker).delay(**MAIL)
    assert f"task {result.id} waits in the outbox: the broker did not take it (OperationalError)" in caplog.text
    assert "example.com" not in caplog.text
    assert worker.run(republished(worker)) == "SUCCESS"
    assert [mail["id"] for mail in proxy.received] == [result.id]


def test_what_the_broker_will_never_take_is_the_callers(worker: MemoryWorker) -> None:
    with (
        patch.object(type(worker.app), "send_task", side_effect=PreconditionFailed("message size")),
        pytest.raises(PreconditionFailed),
    ):
        send(worker).delay(**MAIL)
    assert entries(worker) == []


def test_with_the_store_away_nothing_is_published(worker: MemoryWorker) -> None:
    outbox = type(worker.runtime.store.outbox)
    with patch.object(outbox, "put", side_effect=StoreError("away")), pytest.raises(StoreError):
        send(worker).delay(**MAIL)
    assert worker.take() == []


def test_with_the_store_away_a_chain_goes_on(worker: MemoryWorker) -> None:
    """What a finished task publishes: an error would hit that task, which has done its part."""
    outbox = type(worker.runtime.store.outbox)
    with patch.object(outbox, "put", side_effect=StoreError("away")):
        send(worker).apply_async(kwargs=MAIL, parent_id="p1", root_id="p1")
    (message,) = worker.take()
    assert message.headers["parent_id"] == "p1"


# -------------------------------------------------------------------- copies


def test_of_two_copies_one_runs_and_what_follows_runs_once(worker: MemoryWorker, proxy: FakeProxy) -> None:
    after = send(worker).si(to=["bob@example.com"], subject="After", body="B")
    for order in ((0, 1), (1, 0)):
        (send(worker).si(**MAIL) | after).apply_async()
        (first,) = worker.take()
        copies = [first, republished(worker)]
        ran = [worker.run(copies[number]) for number in order]
        assert ran == ["SUCCESS", "IGNORED"]
        # The chain's next mail, once.
        assert worker.run_all() == ["SUCCESS"]
        assert entries(worker) == []
    assert len(proxy.received) == 4


def test_a_copy_that_comes_while_another_runs_is_ignored_and_drops_nothing(worker: MemoryWorker) -> None:
    result = send(worker).delay(**MAIL)
    (first,) = worker.take()
    again = republished(worker)
    worker.runtime.store.outbox.begin(result.id, 0, due_at=FAR)
    assert worker.run(again) == "IGNORED"
    assert len(entries(worker)) == 1
    # A redelivery of the one that has the turn goes on.
    assert worker.run(first) == "SUCCESS"


def test_a_copy_runs_where_the_one_before_has_been_silent(worker: MemoryWorker) -> None:
    result = send(worker).delay(**MAIL)
    (first,) = worker.take()
    outbox = worker.runtime.store.outbox
    outbox.begin(result.id, 0, due_at=utcnow())
    again = republished(worker)
    (entry,) = entries(worker)
    assert outbox.republish(entry, due_at=FAR)
    assert [worker.run(again), worker.run(first)] == ["SUCCESS", "IGNORED"]


def test_a_mail_whose_entry_is_lost_is_sent(worker: MemoryWorker, proxy: FakeProxy) -> None:
    """The store was restored from an older copy: the broker's message is all there is of it."""
    result = send(worker).delay(**MAIL)
    worker.runtime.store.outbox.drop([result.id])
    assert worker.run_all() == ["SUCCESS"]
    assert len(proxy.received) == 1


def test_a_run_that_begins_is_left_alone_for_as_long_as_it_may_take(worker: MemoryWorker) -> None:
    send(worker).delay(**MAIL)
    (message,) = worker.take()
    begun: list[OutboxEntry] = []

    def look(*args: Any, **kwargs: Any) -> Any:
        begun.extend(entries(worker))
        return run(*args, **kwargs)

    run = send(worker).run
    with patch.object(send(worker), "run", look):
        worker.run(message)
    # 330 seconds are the task's own limit.
    assert 440 < (begun[0].due_at - utcnow()).total_seconds() <= 450


def test_a_retry_is_left_alone_while_it_waits_and_is_the_same_copy(worker: MemoryWorker, proxy: FakeProxy) -> None:
    worker.app.conf.mail_proxy_url = "http://127.0.0.1:9"
    send(worker).delay(**MAIL)
    (message,) = worker.take()
    assert worker.run(message) == "RETRY"
    (entry,) = entries(worker)
    assert 115 < (entry.due_at - utcnow()).total_seconds() <= 121
    (retry,) = worker.take()
    assert (retry.headers[OUTBOX_HEADER], retry.headers["retries"]) == (0, 1)
    again = republished(worker)
    assert [worker.run(again), worker.run(retry)] == ["IGNORED", "RETRY"]


def test_a_mail_that_fails_for_good_is_dropped(worker: MemoryWorker) -> None:
    worker.app.conf.mail_proxy_url, worker.app.conf.mail_proxy_max_retries = "http://127.0.0.1:9", 0
    result = send(worker).delay(**MAIL)
    (message,) = worker.take()
    assert worker.run(message) == "FAILURE"
    assert entries(worker) == []
    delivery = worker.runtime.store.get(result.id)
    assert delivery is not None
    assert delivery.status is Status.ERROR


def test_a_mail_whose_result_follows_it_is_dropped_when_the_proxy_has_it(worker: MemoryWorker) -> None:
    result = worker.task("celery_mailproxy.deliver_via_proxy").delay(**MAIL)
    (message,) = worker.take()
    again = republished(worker)
    assert worker.run(message) == "IGNORED"
    assert entries(worker) == []
    delivery = worker.runtime.store.get(result.id)
    assert delivery is not None
    assert delivery.suspension is not None
    # What resumes it later is no copy.
    assert OUTBOX_HEADER not in (delivery.suspension.message or "")
    assert worker.run(again) == "IGNORED"


def test_a_mail_for_each_recipient_is_dropped_when_the_proxy_has_all(worker: MemoryWorker, proxy: FakeProxy) -> None:
    send(worker).delay(**{**MAIL, "to": ["ann@example.com", "bob@example.com"]}, per_recipient=True)
    (first,) = worker.take()
    again = republished(worker)
    assert [worker.run(first), worker.run(again)] == ["SUCCESS", "IGNORED"]
    assert entries(worker) == []
    assert len(proxy.received) == 2


def test_a_store_away_at_the_end_leaves_a_copy_that_ends_in_peace(
    worker: MemoryWorker, proxy: FakeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    send(worker).delay(**MAIL)
    (message,) = worker.take()
    outbox = type(worker.runtime.store.outbox)
    with patch.object(outbox, "drop", side_effect=StoreError("away")):
        assert worker.run(message) == "SUCCESS"
    assert "could not be dropped from the outbox" in caplog.text
    (entry,) = entries(worker)
    again = republished(worker)
    assert worker.runtime.store.outbox.republish(entry, due_at=FAR)
    assert worker.run(again) == "SUCCESS"
    assert entries(worker) == []
    assert len(proxy.received) == 1
