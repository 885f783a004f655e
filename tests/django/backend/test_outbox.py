"""The e-mail backend with its outbox: what is in the caller's transaction, what is published, and what waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from amqp.exceptions import PreconditionFailed  # type: ignore[import-untyped]
from celery import Celery
from django.core.mail import EmailMessage
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.dispatch.resumer import OUTBOX_HEADER
from celery_mailproxy.django.backend import outbox
from celery_mailproxy.django.backends import EmailBackend, MigrationEmailBackend
from celery_mailproxy.django.log import beginning
from celery_mailproxy.django.models import EmailLog, OutboxMessage
from celery_mailproxy.maintenance.relay import relay
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks import send_via_proxy
from celery_mailproxy.tasks.sending.outbox import read_content
from tests.django.harness.default_app import default_app
from tests.django.harness.messages import numbered_message as message
from tests.django.harness.publishing_app import DEAD_BROKER, Published, published

LARGE = "Long text\n" * 200
CONF: dict[str, Any] = {"mail_proxy_store": "django://", "mail_proxy_attachment_inline_bytes": 1000}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Any) -> Path:
    settings.STORAGES = {
        **settings.STORAGES,
        "mail_proxy": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}},
    }
    return tmp_path


@pytest.fixture
def tasks(transactional_db: None) -> Iterator[list[Published]]:
    with published(**CONF) as tasks:
        yield tasks


@pytest.fixture
def dead_broker(transactional_db: None) -> Iterator[Celery]:
    with default_app(**CONF, **DEAD_BROKER) as app:
        yield app


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def kept() -> OutboxMessage:
    return OutboxMessage.objects.get()


def wait_seconds(row: OutboxMessage) -> float:
    return (row.due_at - utcnow()).total_seconds()


# -------------------------------------------------------------------- the caller's transaction


def test_a_mail_is_a_row_of_the_transaction_and_published_at_its_commit(tasks: list[Published]) -> None:
    with transaction.atomic():
        EmailBackend().send_messages([message()])
        row, log = kept(), EmailLog.objects.get()
        assert tasks == []
    assert row.task_id == log.task_id == log.message_id
    (task,) = tasks
    assert (task.task_id, task.headers[OUTBOX_HEADER]) == (row.task_id, 0)
    # Nothing more is written: it is looked at again when a worker should have begun.
    assert kept().due_at == row.due_at
    assert 110 < wait_seconds(row) <= 120


def test_of_a_rolled_back_transaction_nothing_is_left(tasks: list[Published]) -> None:
    with transaction.atomic():
        EmailBackend().send_messages([message()])
        transaction.set_rollback(True)
    with transaction.atomic():
        with transaction.atomic():
            EmailBackend().send_messages([message()])
            transaction.set_rollback(True)
        EmailBackend().send_messages([message(7)])
    assert len(tasks) == OutboxMessage.objects.count() == EmailLog.objects.count() == 1


def test_a_process_that_ends_between_commit_and_publication_loses_nothing(tasks: list[Published]) -> None:
    def end(*given: Any, **more: Any) -> None:
        raise SystemExit

    def send() -> None:
        with transaction.atomic():
            EmailBackend().send_messages([message()])

    with patch("celery_mailproxy.django.backend.handover.publish_committed", end), pytest.raises(SystemExit):
        send()
    assert tasks == []
    OutboxMessage.objects.update(due_at=utcnow())
    assert relay(get_runtime(), lambda: True) == 1
    assert tasks[0].task_id == kept().task_id
    assert kept().copies == 1


def test_another_function_that_raises_at_the_commit_loses_nothing(tasks: list[Published]) -> None:
    def fail() -> None:
        raise ValueError("no bicycles left")

    def send() -> None:
        with transaction.atomic():
            transaction.on_commit(fail)
            EmailBackend().send_messages([message()])

    with pytest.raises(ValueError, match="no bicycles left"):
        send()
    # Django runs no other function after it.
    assert tasks == []
    assert wait_seconds(kept()) <= 120


def test_outside_of_a_transaction_the_row_comes_first(tasks: list[Published]) -> None:
    seen: list[int] = []

    def look(*given: Any, **more: Any) -> None:
        assert not connection.in_atomic_block
        seen.append(OutboxMessage.objects.count())

    with patch.object(outbox, "publish_kept", look):
        assert EmailBackend().send_messages([message()]) == 1
    assert seen == [1]


def test_it_costs_one_query_more_for_any_number_of_mails(tasks: list[Published]) -> None:
    def queries(**conf: Any) -> int:
        with published(**CONF, **conf), CaptureQueriesContext(connection) as captured, transaction.atomic():
            EmailBackend().send_messages([message(number) for number in range(8)])
        return len(captured)

    assert queries() == queries(mail_proxy_outbox=False) + 1


# -------------------------------------------------------------------- what is published


def test_the_task_is_the_same_as_without_the_outbox(transactional_db: None, settings: Any) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = {"queue": "mails", "priority": 7, "expires": 3600, "ignore_result": True}
    found = []
    for keeps in (True, False):
        with published(**CONF, mail_proxy_outbox=keeps) as tasks:
            several = [message(number) for number in range(3)]
            several[1].mail_proxy = {"message_id": f"own-{keeps}"}  # type: ignore[attr-defined]
            EmailBackend().send_messages([*several, message(4, body=LARGE)])
            EmailBackend().send_messages([message(5)])
            found.append(tasks)
    for with_outbox, without in zip(*found, strict=True):
        assert with_outbox.name == without.name
        assert with_outbox.routing_key == without.routing_key == "mails"
        assert with_outbox.properties["priority"] == 7
        headers = with_outbox.headers.keys() - {OUTBOX_HEADER}
        assert headers == without.headers.keys()
        for name in ("argsrepr", "kwargsrepr", "ignore_result", "timelimit", "retries", "shadow"):
            assert with_outbox.headers[name] == without.headers[name]
        assert with_outbox.headers["expires"]
        assert len(with_outbox.args) == len(without.args)
        assert with_outbox.kwargs.keys() == without.kwargs.keys()
        assert "example.com" not in str(with_outbox.headers)


def test_several_mails_are_a_task_and_a_row(tasks: list[Published]) -> None:
    assert EmailBackend().send_messages([message(number) for number in range(12)]) == 12
    assert {row.task_id for row in OutboxMessage.objects.all()} == {task.task_id for task in tasks}
    assert [len(task.args[0]) for task in tasks] == [10, 2]
    assert set(EmailLog.objects.values_list("task_id", flat=True)) == {task.task_id for task in tasks}


def test_the_migrating_backend_keeps_its_own_task(tasks: list[Published]) -> None:
    MigrationEmailBackend().send_messages([message()])
    assert read_content(kept().content).name == tasks[0].name == "celery_mailproxy.send_migrating"


def test_with_results_asked_for_the_backend_of_results_is_prepared(transactional_db: None) -> None:
    for is_asked in (True, False):
        with published(**CONF, mail_proxy_return_results=is_asked, result_backend="cache+memory://"):
            app = get_runtime().app
            with patch.object(type(app.backend), "on_task_call") as prepare:
                sent = EmailBackend().send_messages([message()])
            assert bool(prepare.called) is is_asked
            assert ([result.id for result in sent] if is_asked else sent) == ([kept().task_id] if is_asked else 1)
            OutboxMessage.objects.all().delete()


@pytest.mark.parametrize("conf", [{"mail_proxy_outbox": False}, {"mail_proxy_store": "memory://"}])
def test_where_it_is_off_nothing_is_kept(conf: dict[str, Any], transactional_db: None) -> None:
    with published(**{**CONF, **conf}) as tasks:
        EmailBackend().send_messages([message()])
        with transaction.atomic():
            EmailBackend().send_messages([message()])
    assert len(tasks) == 2
    assert not OutboxMessage.objects.exists()
    assert OUTBOX_HEADER not in tasks[0].headers


def test_what_does_not_wait_for_the_commit_is_not_kept(tasks: list[Published]) -> None:
    """A worker would not see the row."""
    with transaction.atomic():
        EmailBackend(on_commit=False).send_messages([message()])
        assert len(tasks) == 1
        assert not OutboxMessage.objects.exists()
    assert OUTBOX_HEADER not in tasks[0].headers


def test_eagerly_nothing_is_kept(transactional_db: None) -> None:
    with default_app(**CONF, task_always_eager=True, mail_proxy_url="http://127.0.0.1:9"):
        EmailBackend(fail_silently=True).send_messages([message()])
        assert not OutboxMessage.objects.exists()


# -------------------------------------------------------------------- the broker away


@pytest.mark.parametrize("fail_silently", [True, False])
def test_while_the_broker_is_away_mails_wait(
    fail_silently: bool, dead_broker: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    mails = [message(1), message(2), message(3, body=LARGE)]
    assert EmailBackend(fail_silently=fail_silently).send_messages(mails) == 3
    assert {mail.mail_proxy_id for mail in mails} == set(EmailLog.objects.values_list("message_id", flat=True))  # type: ignore[attr-defined]
    assert set(EmailLog.objects.values_list("status", flat=True)) == {"new"}
    assert [record.message for record in caplog.records] == [
        "3 emails wait in the outbox: the broker did not accept the task (OperationalError)"
    ]
    # The relay takes them at its next round.
    assert max(wait_seconds(row) for row in OutboxMessage.objects.all()) <= 0
    with published(**CONF) as tasks:
        assert relay(get_runtime(), lambda: True) == 2
        assert {task.task_id for task in tasks} == set(OutboxMessage.objects.values_list("task_id", flat=True))


def test_in_a_transaction_others_run(dead_broker: Celery, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []
    with transaction.atomic():
        assert EmailBackend().send_messages([message()]) == 1
        transaction.on_commit(lambda: ran.append("another"))
    assert ran == ["another"]
    assert "1 email waits in the outbox" in caplog.text
    assert "@example.com" not in caplog.text


def test_after_a_failure_the_broker_is_left_alone_for_a_while(dead_broker: Celery) -> None:
    with patch.object(outbox, "publish_kept", side_effect=OperationalError("refused")) as publish:
        for _ in range(5):
            assert EmailBackend().send_messages([message()]) == 1
        assert publish.call_count == 1
        now = time.monotonic()
        with patch("celery_mailproxy.django.backend.outbox.time.monotonic", lambda: now + 11):
            EmailBackend().send_messages([message()])
        assert publish.call_count == 2
    assert OutboxMessage.objects.filter(due_at__lte=utcnow()).count() == 6


def test_a_mail_that_the_broker_will_never_take_ends(transactional_db: None) -> None:
    with published(**CONF), patch.object(outbox, "publish_kept", side_effect=PreconditionFailed("too large")):
        with pytest.raises(PreconditionFailed):
            EmailBackend().send_messages([message()])
        assert EmailBackend(fail_silently=True).send_messages([message()]) == 0
        with transaction.atomic():
            assert EmailBackend().send_messages([message()]) == 1
    assert not OutboxMessage.objects.exists()
    assert list(EmailLog.objects.values_list("status", flat=True)) == ["error"] * 3


# -------------------------------------------------------------------- large mails


def test_a_large_mails_content_is_in_its_file_only(tasks: list[Published], folder: Path) -> None:
    with transaction.atomic():
        EmailBackend().send_messages([message(body=LARGE)])
        (file,) = files(folder)
    name = EmailLog.objects.get().content_name
    assert file == folder / name
    assert tasks[0].kwargs["content_name"] == name
    content = kept().content
    assert name in content
    assert "Long text" not in content


def test_a_small_mails_content_is_in_its_row_only(tasks: list[Published], folder: Path) -> None:
    EmailBackend().send_messages([message()])
    assert files(folder) == []
    assert "Subject" in kept().content
    assert EmailLog.objects.get().content is None


def test_no_file_is_left_where_the_row_cannot_be_written(tasks: list[Published], folder: Path) -> None:
    with patch.object(beginning, "_row", side_effect=IntegrityError), pytest.raises(IntegrityError):
        EmailBackend().send_messages([message(body=LARGE)])
    assert files(folder) == []


def test_the_file_of_what_was_rolled_back_is_found_by_pruning(tasks: list[Published], folder: Path) -> None:
    EmailBackend().send_messages([message(body=LARGE)])
    with transaction.atomic():
        EmailBackend().send_messages([message(body=LARGE)])
        transaction.set_rollback(True)
    (folder / "celery-mailproxy" / "recent.eml").write_bytes(b"a transaction that is still open")
    (folder / "another.eml").write_bytes(b"somebody else's")
    store = get_runtime().store
    store.prune()
    assert len(files(folder)) == 4
    old = (utcnow() - timedelta(days=8)).timestamp()
    for path in files(folder):
        if path.name != "recent.eml":
            os.utime(path, (old, old))
    store.prune()
    logged = folder / EmailLog.objects.get().content_name
    assert set(files(folder)) == {logged, folder / "celery-mailproxy/recent.eml", folder / "another.eml"}


# -------------------------------------------------------------------- ids


def test_a_repeated_id_is_a_task_of_its_own(tasks: list[Published]) -> None:
    for _ in range(2):
        mail: EmailMessage = message()
        mail.mail_proxy = {"message_id": "welcome/7"}  # type: ignore[attr-defined]
        EmailBackend().send_messages([mail])
    assert EmailLog.objects.count() == 1
    assert OutboxMessage.objects.count() == len({task.task_id for task in tasks}) == 2


# -------------------------------------------------------------------- tasks without the backend


def test_a_task_that_is_published_by_hand_is_kept_where_that_is_asked_for(transactional_db: None) -> None:
    mail: Any = {"to": ["ann@example.com"], "subject": "S", "body": "B", "from_email": "shop@example.com"}
    with published(**CONF, mail_proxy_outbox=True) as tasks:

        async def send_in_a_loop() -> None:
            send_via_proxy.delay(**mail)

        send_via_proxy.delay(**mail)
        asyncio.run(send_in_a_loop())
        with transaction.atomic():
            # Published at once, as ever: a worker would not see its row.
            send_via_proxy.delay(**mail)
            transaction.on_commit(partial(send_via_proxy.delay, **mail))
        headers = [OUTBOX_HEADER in task.headers for task in tasks]
    assert headers == [True, True, False, True]
    assert OutboxMessage.objects.count() == 3
