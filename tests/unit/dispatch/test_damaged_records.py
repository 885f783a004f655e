"""A record that cannot be read costs its own message: the rest of a chunk is dispatched, and submitted."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks
from celery_mailproxy.cli.check.app_links import check_store
from celery_mailproxy.cli.check.links import Outcome
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.errors import DamagedRecord
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.runtime import Runtime, forget_runtime, get_runtime
from celery_mailproxy.tasks.sending.outgoing import Outgoing
from celery_mailproxy.tasks.sending.submitter import submitter_of
from celery_mailproxy.testing import FakeProxy

NOW = datetime(2026, 11, 22, 8, tzinfo=timezone.utc)
IDS = ("m1", "m2", "m3")


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy("entities", reports=False) as proxy:
        yield proxy


@pytest.fixture
def runtime(tmp_path: Path, proxy: FakeProxy) -> Iterator[Runtime]:
    app = Celery("damaged", broker="memory://", set_as_current=False)
    app.conf.update(mail_proxy_store=f"sqlite:///{tmp_path}/d.sqlite3", mail_proxy_events=False)
    app.conf.update(mail_proxy_url=proxy.url, mail_proxy_token=proxy.token, mail_proxy_tenant="t1")
    app.conf.mail_proxy_account = "main"
    yield get_runtime(app)
    forget_runtime(app)
    app.close()


def damage(runtime: Runtime, message_id: str) -> None:
    path = runtime.settings.store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE deliveries SET head = '{' WHERE message_id = ?", (message_id,))


def register(runtime: Runtime, *message_ids: str, **fields: Any) -> None:
    fields = {"created_at": NOW, "updated_at": NOW, "status": Status.QUEUED, **fields}
    runtime.store.register([Delivery(message_id=each, **fields) for each in message_ids])


def sent(*message_ids: str) -> list[DeliveryReport]:
    return [
        DeliveryReport(kind=Kind.SENT, message_id=each, at=NOW + timedelta(seconds=n))
        for n, each in enumerate(message_ids)
    ]


@pytest.fixture
def heard(runtime: Runtime) -> Iterator[list[str]]:
    heard: list[str] = []

    def listen(report: DeliveryReport, **kwargs: Any) -> None:
        heard.append(report.message_id)

    mail_sent.connect(listen, sender=runtime.app, weak=False)
    yield heard
    mail_sent.disconnect(listen, sender=runtime.app)


def test_the_other_reports_of_a_chunk_are_dispatched(
    runtime: Runtime, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    register(runtime, *IDS)
    damage(runtime, "m2")
    assert dispatcher_of(runtime).dispatch(sent(*IDS)) == []
    assert heard == ["m1", "m3"]
    assert "message 'm2': its record cannot be read" in caplog.text


def test_members_are_told_of_though_their_parents_record_is_damaged(runtime: Runtime, heard: list[str]) -> None:
    register(runtime, "m", members=("ann@example.com",), status=Status.NEW)
    register(runtime, "m-0", parent_id="m")
    damage(runtime, "m")
    dispatcher_of(runtime).dispatch(sent("m-0"))
    assert heard == ["m-0"]


def test_the_other_mails_of_a_chunk_are_submitted_and_this_one_waits(runtime: Runtime, proxy: FakeProxy) -> None:
    register(runtime, "m2", status=Status.NEW)
    damage(runtime, "m2")
    mails = [
        Outgoing(message=MailMessage(message_id=each, from_email="s@e.com", to=("a@e.com",), subject="s", body="b"))
        for each in IDS
    ]
    with pytest.raises(DamagedRecord) as raised:
        submitter_of(runtime).submit(mails, task_id="t")
    assert raised.value.message_ids == ("m2",)
    assert [message["id"] for message in proxy.received] == ["m1", "m3"]


def test_check_names_it_until_it_is_gone(runtime: Runtime) -> None:
    register(runtime, *IDS)
    damage(runtime, "m2")
    assert check_store(runtime).outcome is Outcome.OK
    dispatcher_of(runtime).dispatch(sent(*IDS))
    link = check_store(runtime)
    assert link.outcome is Outcome.WARNING
    assert link.found.endswith("these records cannot be read: m2")
    path = runtime.settings.store.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM deliveries WHERE message_id = 'm2'")
    assert check_store(runtime).outcome is Outcome.OK
