"""RabbitMQ's `max_message_size`: a task above it is an error in the caller, and nothing is lost or published by halves.

Without confirmation RabbitMQ closes the channel after `basic.publish` has returned, and nobody hears of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, group
from kombu import Queue

import celery_mailproxy.tasks  # noqa: F401
from celery_mailproxy import Attachment, MessageTooLarge
from celery_mailproxy.conf import task_names
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.receiver.publisher import publisher_of
from celery_mailproxy.runtime import forget_runtime, get_runtime

from ...harness.services import RabbitServer

pytestmark = pytest.mark.integration

LIMIT = RabbitServer.max_message_bytes
SMALL = {"to": ["to@example.com"], "subject": "S", "body": "B", "from_email": "from@example.com"}
LARGE = {**SMALL, "body": "B" * LIMIT}


class Tasks:
    """The tasks of an app, and its queue."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.send, self.deliver, self.many = (
            app.tasks[name] for name in (task_names.SEND, task_names.DELIVER, task_names.SEND_MANY)
        )

    def taken(self) -> list[Any]:
        """The messages in the queue, which is empty afterwards."""
        with self.app.connection_for_read() as connection, connection.channel() as channel:
            queue = Queue(self.app.conf.task_default_queue, channel=channel)
            queue.queue_declare()
            return list(iter(lambda: queue.get(no_ack=True), None))


@pytest.fixture
def tasks(rabbit_server: RabbitServer, tmp_path: Path) -> Iterator[Tasks]:
    app = Celery("size", broker=rabbit_server.url, set_as_current=False)
    app.conf.update(
        task_default_queue=f"size-{tmp_path.name}",
        mail_proxy_url="http://127.0.0.1:9",
        mail_proxy_store=f"sqlite:///{tmp_path}/deliveries.sqlite3",
        mail_proxy_events=False,
    )
    yield Tasks(app)
    forget_runtime(app)
    app.close()


@pytest.mark.parametrize(
    "publish",
    [
        lambda tasks: tasks.send.delay(**LARGE),
        lambda tasks: tasks.deliver.delay(**LARGE),
        lambda tasks: tasks.send.delay(**LARGE, per_recipient=True),
        lambda tasks: tasks.send.delay(**SMALL, attachments=[Attachment(filename="a", content=b"a" * LIMIT)]),
        lambda tasks: tasks.many.delay([SMALL, LARGE]),
        lambda tasks: group([tasks.deliver.s(**LARGE), tasks.send.s(**LARGE)], app=tasks.app).apply_async(),
        lambda tasks: chain(tasks.deliver.s(**LARGE), tasks.send.s(**SMALL)).apply_async(),
    ],
    ids=["send", "deliver", "per recipient", "attachment", "many", "group", "chain"],
)
def test_a_task_that_is_too_large_is_an_error_that_names_size_and_remedy(
    tasks: Tasks, publish: Callable[[Tasks], object]
) -> None:
    with pytest.raises(MessageTooLarge, match=r"up to 4,194,304\. Attach files by reference") as raised:
        publish(tasks)
    assert LIMIT < raised.value.size_bytes < 2 * LIMIT
    assert raised.value.limit_bytes == LIMIT
    assert tasks.taken() == []
    # The connection is as good as new.
    tasks.send.delay(**SMALL)
    assert len(tasks.taken()) == 1


def test_many_mails_that_are_too_large_together_go_in_smaller_chunks(tasks: Tasks) -> None:
    mails = [{**SMALL, "body": "B" * (LIMIT // 4), "message_id": f"m{n}"} for n in range(5)]
    with pytest.raises(MessageTooLarge, match="mail_proxy_chunk_size"):
        tasks.many.delay(mails)
    tasks.app.conf.mail_proxy_chunk_size = 2
    forget_runtime(tasks.app)
    tasks.many.delay(mails)
    assert len(tasks.taken()) == 3


def test_reports_that_are_too_large_together_are_handed_over_all_the_same(tasks: Tasks) -> None:
    """The proxy would repeat them for ever."""
    reason = "r" * (LIMIT // 4)
    reports = [DeliveryReport(kind=Kind.ERROR, message_id=f"m{n}", at=utcnow(), reason=reason) for n in range(7)]
    publisher_of(get_runtime(tasks.app))(reports)
    chunks = [message.payload[0][0] for message in tasks.taken()]
    assert sorted(report["message_id"] for chunk in chunks for report in chunk) == [f"m{n}" for n in range(7)]
    assert len(chunks) < 7
