"""RabbitMQ, and a connection that goes silent and then breaks: what was published counts when the broker has it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.exceptions import Reject, Retry
from kombu import Queue
from kombu.exceptions import OperationalError

from celery_mailproxy.broker import confirming
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.deliveries.suspension import Suspension, SuspensionState
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.resumer import resumer_of
from celery_mailproxy.migration.wrapping import migrate
from celery_mailproxy.receiver.publisher import publisher_of
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime
from celery_mailproxy.tasks.sending.retrying import retry_in
from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RabbitServer
from ...harness.tap import Tap
from ...harness.waiting import wait_until

pytestmark = pytest.mark.integration

MAIL = {"to": ["to@example.com"], "subject": "S", "body": "B", "from_email": "from@example.com"}


@pytest.fixture
def tap(rabbit_server: RabbitServer) -> Iterator[Tap]:
    with Tap(rabbit_server.port) as tap:
        yield tap


class Published:
    """An app that publishes through the tap, and a look at its queue past it."""

    def __init__(self, rabbit: RabbitServer, tap: Tap, queue: str, folder: Path) -> None:
        self.tap = tap
        self.queue = queue
        self.app = Celery("confirms", broker=rabbit.url_at(tap.port), set_as_current=False)
        self.app.conf.update(
            task_default_queue=queue,
            broker_connection_timeout=0.5,
            mail_proxy_url="http://127.0.0.1:9",
            mail_proxy_events=False,
            mail_proxy_chunk_size=1,
            mail_proxy_dispatch_chunk_size=1,
            mail_proxy_store=f"sqlite:///{folder}/deliveries.sqlite3",
        )
        self._direct = Celery("direct", broker=rabbit.url, set_as_current=False)

    @property
    def runtime(self) -> Runtime:
        return get_runtime(self.app)

    def names(self) -> list[str]:
        """The tasks in the queue, which is empty afterwards."""
        with self._direct.connection_for_read() as connection, connection.channel() as channel:
            queue = Queue(self.queue, channel=channel)
            queue.queue_declare()
            names = []
            while (message := queue.get(no_ack=True)) is not None:
                names.append(message.headers["task"])
            return names

    def publish_into_silence(self, publish: Callable[[], object]) -> None:
        """Publish on a connection that swallows what it is given, and breaks."""
        errors: list[BaseException] = []

        def run() -> None:
            try:
                publish()
            except BaseException as exc:
                errors.append(exc)

        thread = threading.Thread(target=run)
        with self.tap.silence():
            swallowed = self.tap.swallowed
            thread.start()
            wait_until(lambda: self.tap.swallowed > swallowed, "something is published")
        self.tap.cut()
        thread.join()
        assert errors == []

    def register(self, count: int, **callbacks: Any) -> list[DeliveryReport]:
        """Deliveries, and a report for each that it was sent."""
        now = utcnow()
        ids = [f"{self.queue}-{n}" for n in range(count)]
        self.runtime.store.register(
            [Delivery(message_id=each, created_at=now, updated_at=now, callbacks=callbacks) for each in ids]
        )
        return [DeliveryReport(kind=Kind.SENT, message_id=each, at=now) for each in ids]

    def close(self) -> None:
        forget_runtime(self.app)
        self.app.close()


@contextmanager
def running(app: Celery, name: str, queue: str) -> Iterator[Any]:
    """The task, as if it ran in a worker that took it from the queue."""
    task = app.tasks[name]
    task.push_request(id="t1", called_directly=False, delivery_info={"exchange": "", "routing_key": queue})
    try:
        yield task
    finally:
        task.pop_request()


@pytest.fixture
def published(rabbit_server: RabbitServer, tap: Tap, tmp_path: Path) -> Iterator[Published]:
    published = Published(rabbit_server, tap, f"confirms-{tap.port}", tmp_path)
    yield published
    published.close()


def _callbacks(published: Published) -> list[Callable[[], object]]:
    """Five reports, dispatched one after another: each publishes a callback, and marks it as dispatched."""
    app = published.app
    single = app.signature("shop.paid")
    of_chain = chain(app.signature("shop.paid"), app.signature("shop.shipped"))
    callbacks = [json.loads(json.dumps(each)) for each in (single, of_chain)]
    reports = published.register(5, sent=callbacks)
    return [lambda: dispatcher_of(published.runtime).dispatch(reports)]


def _resumed(published: Published) -> list[Callable[[], object]]:
    message = {
        "n": task_names.DELIVER,
        "s": "json",
        "r": {"queue": published.queue},
        "h": "w@h",
        "j": [[], MAIL, {"ignore_result": False}],
    }
    suspension = Suspension(
        owner="t1", since=utcnow(), state=SuspensionState.REPORTED, message=json.dumps(message, separators=(",", ":"))
    )
    return [lambda: resumer_of(published.runtime).publish("m1", suspension)] * 5


def _retries(published: Published) -> list[Callable[[], object]]:
    app = published.app

    @app.task(name="shop.receipt", bind=True)
    def receipt(self: Any) -> None: ...

    migrate(app.tasks["shop.receipt"], to_message=lambda: None)
    names = (task_names.SEND, task_names.DELIVER, task_names.SEND_MANY, task_names.DISPATCH, "shop.receipt")

    def retry(name: str) -> None:
        task = app.tasks[name]
        task.push_request(
            id="t1", called_directly=False, delivery_info={"exchange": "", "routing_key": published.queue}
        )
        try:
            assert isinstance(retry_in(task, OSError(), 1), Retry)
        finally:
            task.pop_request()

    return [lambda name=name: retry(name) for name in names]  # type: ignore[misc]


def _parked(published: Published) -> list[Callable[[], object]]:
    report = DeliveryReport(kind=Kind.SENT, message_id="stranger", at=utcnow()).to_json()

    def park() -> None:
        with running(published.app, task_names.DISPATCH, published.queue) as task:
            task.run([report])

    return [park] * 5


def _received(published: Published) -> list[Callable[[], object]]:
    reports = [DeliveryReport(kind=Kind.SENT, message_id=f"m{n}", at=utcnow()) for n in range(5)]
    return [lambda: publisher_of(published.runtime)(reports)]


def _mails(published: Published) -> list[Callable[[], object]]:
    tasks = published.app.tasks
    send, many, deliver = (tasks[name] for name in (task_names.SEND, task_names.SEND_MANY, task_names.DELIVER))
    return [
        lambda: send.delay(**MAIL),
        lambda: many.delay([MAIL, MAIL]),
        lambda: chain(deliver.s(**MAIL), send.s(**MAIL)).apply_async(),
        # Celery gives it a producer of the app's own.
        lambda: group([deliver.s(**MAIL), send.s(**MAIL)], app=published.app).apply_async(),
    ]


@pytest.mark.parametrize(
    ("what", "count"),
    [(_callbacks, 10), (_resumed, 5), (_retries, 5), (_parked, 5), (_received, 5), (_mails, 6)],
    ids=["callbacks", "resumed messages", "retries", "parked reports", "received reports", "mails"],
)
def test_nothing_is_lost_on_a_connection_that_goes_silent_and_breaks(
    published: Published, what: Callable[[Published], list[Callable[[], object]]], count: int
) -> None:
    steps = what(published)
    # A connection that is there already: a new one would notice at its handshake.
    published.app.tasks[task_names.SEND].delay(**MAIL)
    with get_runtime(published.app).producers.acquire() as producer:
        producer.publish({}, routing_key=published.queue, headers={"task": "none"})
    published.names()
    for publish in steps:
        published.publish_into_silence(publish)
    names = published.names()
    # One that the broker had, and whose confirmation was lost, may be there twice.
    assert len(names) >= count, names


def test_a_broker_that_stays_silent_is_waited_for_a_bounded_time(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "CONFIRM_SECONDS", 0.2)
    send = published.app.tasks[task_names.SEND]
    policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
    send.delay(**MAIL)
    with published.tap.silence(), pytest.raises(OperationalError):
        send.apply_async(kwargs=MAIL, retry_policy=policy)
    with published.tap.silence(), pytest.raises(OperationalError, match=r"confirmed nothing for 0\.2 s"):
        send.apply_async(kwargs=MAIL, retry=False)
    # The confirmation that comes late is not taken for another message's: that connection is gone.
    send.delay(**MAIL)
    assert published.names() == [task_names.SEND] * 2


def test_a_retry_that_the_broker_does_not_take_stays_where_it_is(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirming, "CONFIRM_SECONDS", 0.2)
    published.app.conf.task_publish_retry_policy = {"max_retries": 0}
    published.app.tasks[task_names.SEND].delay(**MAIL)
    with running(published.app, task_names.SEND, published.queue) as task, published.tap.silence():
        refused = retry_in(task, OSError(), 1)
    assert isinstance(refused, Reject)
    assert refused.requeue


def test_a_message_that_the_broker_refuses_is_an_error(published: Published, rabbit_server: RabbitServer) -> None:
    full = Queue(
        f"{published.queue}-full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"}, durable=True
    )
    published.app.conf.task_queues = [full]
    send = published.app.tasks[task_names.SEND]
    send.apply_async(kwargs=MAIL, queue=full.name)
    with pytest.raises(OperationalError, match="its queue is full"):
        send.apply_async(kwargs=MAIL, queue=full.name)


def test_confirmations_that_are_switched_off_are_switched_on_with_a_warning(
    published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    published.app.conf.broker_transport_options = {"confirm_publish": False}
    with caplog.at_level(logging.WARNING):
        published.app.tasks[task_names.SEND].delay(**MAIL)
        published.publish_into_silence(lambda: published.app.tasks[task_names.SEND].delay(**MAIL))
    assert len(published.names()) >= 2
    assert [record.getMessage() for record in caplog.records if "confirm_publish=False" in record.getMessage()]


def test_the_next_link_of_a_chain_is_confirmed_in_a_worker(rabbit_server: RabbitServer) -> None:
    """Celery publishes it by itself, in a process of the worker's pool, when the mail's result is there."""
    seen = threading.Event()

    def watch(data: bytes, to_server: bool) -> bool:
        if to_server and f"{MODULE}.add".encode() in data:
            seen.set()
        return True

    with FakeProxy("entities") as proxy, Tap(rabbit_server.port, watch=watch) as tap:
        proxy.plan("silent@example.com")
        tenant = ProxyTenant(proxy=proxy, smtp_host="127.0.0.1", smtp_port=25).add()
        conf = {"broker_write_url": rabbit_server.url_at(tap.port), "mail_proxy_events": False}
        # One process, whose connection is there already when it matters.
        options = ("--concurrency", "1")
        with MailStack(tenant, broker_url=rabbit_server.url, conf=conf, options=options) as stack:

            def begin(number: int) -> str:
                mail = stack.app.tasks[task_names.DELIVER].si(to=["silent@example.com"], subject="S", body="B")
                then = stack.app.signature(f"{MODULE}.add", kwargs={"number": number})
                task_id = str(chain(mail, then).apply_async().parent.id)
                stack.wait_told(task_id, "mail_queued")
                return task_id

            def end(task_id: str) -> None:
                now = int(utcnow().timestamp())
                assert stack.post_reports({"id": task_id, "sent_ts": now}).status_code == 200

            end(begin(1))
            stack.wait_told("1", "add")
            task_id = begin(2)
            hung = stack.hang_at("publish", task_id)
            end(task_id)
            stack.wait_until(hung.exists, what="the next link is about to be published")
            seen.clear()
            with tap.silence():
                hung.unlink()
                stack.wait_until(seen.is_set, what="it is published")
            tap.cut()
            stack.wait_told("2", "add")
