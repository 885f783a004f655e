"""The e-mail backend up to the broker: what is published, when, and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import django
import pytest
from celery import Celery, signature
from celery.result import AsyncResult
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.test.utils import CaptureQueriesContext
from kombu.exceptions import OperationalError

from celery_mailproxy.django import send_mail
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.errors import ConfigurationError, InvalidMessage
from tests.django.harness.default_app import default_app
from tests.django.harness.messages import numbered_message as message
from tests.django.harness.publishing_app import BACKEND, DEAD_BROKER, Published, published

ONE = "celery_mailproxy.send_via_proxy"
MANY = "celery_mailproxy.send_many_via_proxy"


@pytest.fixture
def tasks() -> Iterator[list[Published]]:
    with published() as tasks:
        yield tasks


@pytest.fixture
def logged_tasks(transactional_db: None) -> Iterator[list[Published]]:
    """With the log of emails in the database."""
    with published(mail_proxy_store="django://") as tasks:
        yield tasks


@pytest.fixture
def dead_broker() -> Iterator[Celery]:
    with default_app(mail_proxy_store="memory://", **DEAD_BROKER) as app:
        yield app


# -------------------------------------------------------------------- handing over


def test_a_mail_alone_is_a_task_with_its_id(tasks: list[Published]) -> None:
    mail = message()
    assert EmailBackend().send_messages([mail]) == 1
    (task,) = tasks
    assert (task.name, task.task_id) == (ONE, mail.mail_proxy_id)  # type: ignore[attr-defined]
    assert task.kwargs["to"] == ["to1@example.com"]
    assert "Subject: Subject 1" in task.kwargs["raw"]


def test_several_mails_go_in_chunks_and_keep_ids_of_their_own(tasks: list[Published], settings: Any) -> None:
    settings.CELERY_EMAIL_CHUNK_SIZE = 2
    mails = [message(number) for number in range(5)]
    assert EmailBackend().send_messages(iter(mails)) == 5
    assert [task.name for task in tasks] == [MANY, MANY, ONE]
    sent = [each["message_id"] for task in tasks[:2] for each in task.args[0]] + [tasks[2].task_id]
    assert sent == [mail.mail_proxy_id for mail in mails]  # type: ignore[attr-defined]
    assert len(set(sent)) == 5


def test_a_chunk_is_ten_mails_where_nothing_is_set(tasks: list[Published]) -> None:
    EmailBackend().send_messages([message(number) for number in range(20)])
    assert [len(task.args[0]) for task in tasks] == [10, 10]


def test_a_chunk_of_large_mails_is_cut(tasks: list[Published]) -> None:
    EmailBackend().send_messages([message(body=("x" * 70 + "\n") * 3000) for _ in range(8)])
    assert [len(task.args[0]) for task in tasks] == [4, 4]


def test_no_messages_are_none_handed_over(tasks: list[Published]) -> None:
    assert EmailBackend().send_messages([]) == 0
    assert tasks == []


def test_a_message_without_recipients_is_passed_over(tasks: list[Published]) -> None:
    nobody = message(to=[])
    assert EmailBackend().send_messages([nobody, message()]) == 1
    assert [task.name for task in tasks] == [ONE]
    assert not hasattr(nobody, "mail_proxy_id")


def test_a_broken_message_is_named_before_anything_is_published(tasks: list[Published]) -> None:
    good, bad = message(1), message(2, cc=["cc@example.com", "nobody at all"])
    with pytest.raises(InvalidMessage) as caught:
        EmailBackend(fail_silently=True).send_messages([good, bad])
    assert caught.value.argument == "messages[1].cc[1]"
    assert tasks == []
    assert not hasattr(good, "mail_proxy_id")


def test_an_id_that_comes_twice_is_named_before_anything_is_published(logged_tasks: list[Published]) -> None:
    mails = [message(1), message(2), message(3)]
    for each in mails[1:]:
        each.mail_proxy = {"message_id": "welcome/7"}  # type: ignore[attr-defined]
    with transaction.atomic(), pytest.raises(InvalidMessage) as caught:
        EmailBackend().send_messages(mails)
    assert caught.value.argument == "messages[2].mail_proxy['message_id']"
    assert (logged_tasks, EmailLog.objects.count()) == ([], 0)


@pytest.mark.parametrize("wrong", [None, "to@example.com", {"to": ["to@example.com"]}])
def test_what_is_no_message_is_named(wrong: Any, tasks: list[Published]) -> None:
    with pytest.raises(InvalidMessage, match=r"messages\[1\]: must be a message as Django's"):
        EmailBackend().send_messages([message(), wrong])
    assert tasks == []


def test_a_message_sent_twice_is_two_mails(tasks: list[Published]) -> None:
    mail = message()
    EmailBackend().send_messages([mail])
    EmailBackend().send_messages([mail])
    assert len({task.task_id for task in tasks}) == 2


def test_an_id_of_ones_own_is_not_the_tasks(tasks: list[Published]) -> None:
    mail = message()
    mail.mail_proxy = {"message_id": "welcome/7"}  # type: ignore[attr-defined]
    EmailBackend().send_messages([mail])
    (task,) = tasks
    assert mail.mail_proxy_id == task.kwargs["message_id"] == "welcome/7"  # type: ignore[attr-defined]
    assert task.task_id != "welcome/7"


def test_callbacks_and_options_travel_with_the_mail(tasks: list[Published]) -> None:
    mail = message()
    mail.mail_proxy = {"priority": "high", "on_sent": signature("shop.paid", (7,)), "tenant_id": "t"}  # type: ignore[attr-defined]
    EmailBackend(batch_code="spring").send_messages([mail, message()])
    first, second = tasks[0].args[0]
    assert (first["priority"], first["tenant_id"], first["batch_code"]) == (1, "t", "spring")
    assert first["on_sent"][0]["task"] == "shop.paid"
    assert second["batch_code"] == "spring"
    assert "on_sent" not in second


def test_the_answer_may_be_a_list_of_results() -> None:
    with published(mail_proxy_return_results=True) as tasks:
        mails = [message(number) for number in range(11)]
        results = EmailBackend().send_messages(mails)
        assert len(results) == 2
        assert all(isinstance(result, AsyncResult) for result in results)
        assert [result.id for result in results] == [task.task_id for task in tasks]
        assert EmailBackend().send_messages([]) == []


# -------------------------------------------------------------------- a broker that is down


def test_a_broker_that_is_down_is_an_error(dead_broker: Celery) -> None:
    with pytest.raises(OperationalError):
        EmailBackend().send_messages([message()])


def test_silently_a_broker_that_is_down_is_logged_without_addresses(
    dead_broker: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    mail = message()
    with caplog.at_level(logging.ERROR, "celery_mailproxy"):
        assert EmailBackend(fail_silently=True).send_messages([mail]) == 0
    assert "1 emails are not sent (OperationalError)" in caplog.text
    assert "@example.com" not in caplog.text


# -------------------------------------------------------------------- transactions


def test_a_mail_is_published_when_the_transaction_is_committed(logged_tasks: list[Published]) -> None:
    with transaction.atomic():
        assert EmailBackend().send_messages([message()]) == 1
        assert logged_tasks == []
        assert EmailLog.objects.count() == 1
    assert len(logged_tasks) == 1


def test_of_a_transaction_that_is_rolled_back_nothing_is_left(logged_tasks: list[Published]) -> None:
    with transaction.atomic():
        EmailBackend().send_messages([message()])
        transaction.set_rollback(True)
    assert logged_tasks == []
    assert EmailLog.objects.count() == 0


@pytest.mark.parametrize("where", ["setting", "option"])
def test_publishing_need_not_wait_for_the_commit(where: str, transactional_db: None) -> None:
    conf = {"mail_proxy_on_commit": False} if where == "setting" else {}
    option: dict[str, Any] = {"on_commit": False} if where == "option" else {}
    with published(**conf) as tasks, transaction.atomic():
        EmailBackend(**option).send_messages([message()])
        assert len(tasks) == 1


def test_a_mail_is_refused_inside_the_transaction_and_not_at_its_end(logged_tasks: list[Published]) -> None:
    with transaction.atomic(), pytest.raises(InvalidMessage):
        EmailBackend().send_messages([message(to=["nobody at all"])])
    assert logged_tasks == []


@pytest.fixture
def other_database(transactional_db: None) -> Iterator[str]:
    """A second database, where there is no log."""
    options = {**connections.settings["default"], "NAME": ":memory:", "OPTIONS": {}}
    connections["other"] = SQLite(options, "other")
    # Django's tests let nobody connect to a database that they do not know.
    connections["other"].ensure_connection()
    connections.settings["other"] = options
    yield "other"
    connections["other"].connection.close()
    del connections["other"]
    del connections.settings["other"]


def test_of_a_rolled_back_transaction_of_another_database_no_log_is_left(
    logged_tasks: list[Published], other_database: str
) -> None:
    backend = EmailBackend(database=other_database)
    with transaction.atomic(using=other_database):
        backend.send_messages([message()])
        transaction.set_rollback(True, using=other_database)
    assert (EmailLog.objects.count(), logged_tasks) == (0, [])
    with transaction.atomic(using=other_database):
        backend.send_messages([message()])
        assert EmailLog.objects.count() == 0
    assert [log.message_id for log in EmailLog.objects.all()] == [task.task_id for task in logged_tasks]


# -------------------------------------------------------------------- asynchronous code


def test_a_mail_is_sent_and_logged_from_asynchronous_code(logged_tasks: list[Published]) -> None:
    async def view() -> int:
        return int(EmailBackend().send_messages([message()]))

    assert asyncio.run(view()) == 1
    assert [log.message_id for log in EmailLog.objects.all()] == [task.task_id for task in logged_tasks]


def test_asynchronous_code_gets_the_errors(logged_tasks: list[Published]) -> None:
    async def view() -> None:
        EmailBackend().send_messages([message(to=["nobody at all"])])

    with pytest.raises(InvalidMessage, match=r"messages\[0\]\.to"):
        asyncio.run(view())


# -------------------------------------------------------------------- the log


def test_a_mail_is_logged_with_its_task(logged_tasks: list[Published]) -> None:
    mail = message(bcc=["bcc@example.com"])
    mail.mail_proxy = {"priority": "low", "tenant_id": "t", "account_id": "a"}  # type: ignore[attr-defined]
    EmailBackend().send_messages([mail])
    log = EmailLog.objects.get()
    assert log.message_id == log.task_id == mail.mail_proxy_id  # type: ignore[attr-defined]
    assert log.recipient_list == ["to1@example.com", "bcc@example.com"]
    assert (log.subject, log.sender, log.priority) == ("Subject 1", "from@example.com", 3)
    assert (log.tenant_id, log.account_id, log.status) == ("t", "a", "new")


def test_the_mails_of_a_chunk_are_logged_with_their_task(logged_tasks: list[Published]) -> None:
    EmailBackend().send_messages([message(number) for number in range(3)])
    assert {log.task_id for log in EmailLog.objects.all()} == {logged_tasks[0].task_id}


def test_a_chunk_costs_a_fixed_number_of_queries(logged_tasks: list[Published], settings: Any) -> None:
    counts = []
    settings.CELERY_EMAIL_CHUNK_SIZE = 20  # SQLite takes a thousand values in one query
    for size in (2, 20):
        with CaptureQueriesContext(connection) as queries:
            EmailBackend().send_messages([message(number) for number in range(size)])
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_a_mail_is_found_by_what_it_is_about(logged_tasks: list[Published], django_user_model: Any) -> None:
    ann, bob = (django_user_model.objects.create(username=name) for name in ("ann", "bob"))
    backend = EmailBackend()
    send_mail("Hi", "Body", None, ["ann@example.com"], connection=backend, related=ann)
    send_mail("Hi", "Body", None, ["both@example.com"], connection=backend, related=[ann, bob])
    assert EmailLog.objects.for_object(ann).count() == 2
    assert EmailLog.objects.for_object(bob).get().recipients == "both@example.com"


# -------------------------------------------------------------------- settings of django-celery-email


def test_the_task_config_says_how_to_publish(tasks: list[Published], settings: Any) -> None:
    settings.CELERY_EMAIL_TASK_CONFIG = {
        "name": "legacy_mails",
        "queue": "mails",
        "serializer": "json",
        "ignore_result": True,
        "rate_limit": "50/m",
        "base": "shop.Task",
    }
    EmailBackend().send_messages([message()])
    EmailBackend().send_messages([message(), message()])
    assert [task.name for task in tasks] == [ONE, MANY]
    assert {task.routing_key for task in tasks} == {"mails"}
    assert {task.headers["ignore_result"] for task in tasks} == {True}


def test_the_task_config_holds_for_the_tasks_of_a_worker(settings: Any) -> None:
    from celery.signals import worker_init

    settings.CELERY_EMAIL_TASK_CONFIG = {"rate_limit": "50/m", "max_retries": 4, "queue": "mails", "acks_late": False}
    with default_app() as app:
        worker_init.send(sender=type("Worker", (), {"app": app}))
        for name in (ONE, MANY, "celery_mailproxy.send_kept"):
            task = app.tasks[name]
            assert (task.rate_limit, task.max_retries) == ("50/m", 4)
            assert task.acks_late is True


def test_extra_attributes_that_are_options_count(tasks: list[Published], settings: Any) -> None:
    settings.CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES = ["priority", "colour", "batch_code"]
    mail = message()
    mail.priority, mail.colour = 3, "red"  # type: ignore[attr-defined]
    mail.mail_proxy = {"batch_code": "b"}  # type: ignore[attr-defined]
    EmailBackend().send_messages([mail])
    assert (tasks[0].kwargs["priority"], tasks[0].kwargs["batch_code"]) == (3, "b")
    assert "colour" not in tasks[0].kwargs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CELERY_EMAIL_CHUNK_SIZE", 0),
        ("CELERY_EMAIL_CHUNK_SIZE", "10"),
        ("CELERY_EMAIL_TASK_CONFIG", ["mails"]),
        ("CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES", "priority"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(name: str, value: Any, settings: Any, tasks: list[Published]) -> None:
    setattr(settings, name, value)
    with pytest.raises(ConfigurationError, match=name):
        EmailBackend().send_messages([message()])


# -------------------------------------------------------------------- options of the backend


def test_the_backend_takes_an_alias() -> None:
    assert EmailBackend(alias="bulk").alias == "bulk"


def test_a_wrong_value_of_an_option_is_a_wrong_configuration() -> None:
    with pytest.raises(ImproperlyConfigured, match="priority: must be one of"):
        EmailBackend(alias="bulk", priority="hihg")


@pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")
def test_mailers_make_the_backend_and_refuse_unknown_options(settings: Any, tasks: list[Published]) -> None:
    options = {"tenant_id": "t", "account_id": "a", "server": "default", "priority": 3, "on_commit": True}
    settings.MAILERS = {
        "default": {"BACKEND": BACKEND, "OPTIONS": options},
        "typo": {"BACKEND": BACKEND, "OPTIONS": {"tenant": "t"}},
        "smtp": {"BACKEND": BACKEND, "OPTIONS": {"username": "u"}},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert message().send() == 1
        assert message().send(using="default") == 1
        assert send_mail("S", "B", None, ["to@example.com"]) == 1
        assert send_mail("S", "B", None, ["to@example.com"], using="default", fail_silently=True) == 1
        assert mail.send_mail("S", "B", None, ["to@example.com"]) == 1
    assert {(task.kwargs["tenant_id"], task.kwargs["priority"]) for task in tasks} == {("t", 3)}
    for alias in ("typo", "smtp"):
        with pytest.raises(mail.InvalidMailer, match=rf"MAILERS\['{alias}'\]: Unknown options"):
            mail.mailers[alias]


@pytest.mark.skipif(django.VERSION >= (6, 1), reason="deprecated with Django 6.1")
def test_the_setting_makes_the_backend(settings: Any, tasks: list[Published]) -> None:
    settings.EMAIL_BACKEND = BACKEND
    assert message().send() == 1
    assert mail.send_mail("S", "B", None, ["to@example.com"], auth_user="u", auth_password="secret") == 1
    assert mail.send_mass_mail([("S", "B", None, ["to@example.com"])] * 2) == 2
    assert send_mail("S", "B", None, ["to@example.com"], auth_user="u", auth_password="secret") == 1
    assert send_mail("S", "B", None, [], fail_silently=True) == 0
    assert len(tasks) == 4
    assert "secret" not in repr(tasks)


# -------------------------------------------------------------------- send_mail


def test_send_mail_takes_what_djangos_takes_and_more(tasks: list[Published]) -> None:
    sent = send_mail(
        "Subject",
        "Text",
        "from@example.com",
        ["to@example.com"],
        connection=EmailBackend(),
        html_message="<p>HTML</p>",
        on_error=signature("shop.call"),
        priority="immediate",
        return_path="bounces@example.com",
    )
    assert sent == 1
    (task,) = tasks
    assert "<p>HTML</p>" in task.kwargs["raw"]
    assert (task.kwargs["priority"], task.kwargs["return_path"]) == (0, "bounces@example.com")
    assert task.kwargs["on_error"][0]["task"] == "shop.call"


def test_send_mail_lands_in_the_outbox_of_djangos_tests(settings: Any) -> None:
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    assert send_mail("Subject", "Text", None, ["to@example.com"], on_sent=signature("shop.paid")) == 1
    assert [each.subject for each in mail.outbox] == ["Subject"]


def test_nothing_of_a_mail_is_in_what_celery_shows(tasks: list[Published]) -> None:
    EmailBackend().send_messages([message(body="Secret")])
    EmailBackend().send_messages([message(body="Secret"), message(body="Secret")])
    shown = [f"{task.headers['argsrepr']} {task.headers['kwargsrepr']}" for task in tasks]
    assert "Secret" not in repr(shown)
    assert "example.com" not in repr(shown)
