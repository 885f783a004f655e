"""The e-mail backend without an outbox, where the broker does not take a mail: what is raised and logged."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import django
import pytest
from celery import Celery
from celery.signals import before_task_publish
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils.log import AdminEmailHandler
from kombu.exceptions import OperationalError

from celery_mailproxy.dispatch.signals import mail_error
from celery_mailproxy.django.backend.publishing import Call, Publication, proxy_call
from celery_mailproxy.django.backend.resending import refusal
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending.outgoing import Outgoing
from celery_mailproxy.tasks.sending.submitter import submitter_of
from tests.django.harness.default_app import default_app
from tests.django.harness.kept_files import files
from tests.django.harness.messages import numbered_message as message
from tests.django.harness.publishing_app import BACKEND, DEAD_BROKER, Published, published

# Nothing large is kept outside this test's folder.
pytestmark = pytest.mark.usefixtures("folder")

REASON = "not published: the broker did not take it (OperationalError)"
LARGE = "Long text\n" * 200


@pytest.fixture
def dead_broker(transactional_db: None) -> Iterator[Celery]:
    """With the log of emails in the database, large mails in the file storage, and no outbox."""
    conf = {"mail_proxy_attachment_inline_bytes": 1000, "mail_proxy_outbox": False}
    with default_app(mail_proxy_store="django://", **conf, **DEAD_BROKER) as app:
        yield app


@pytest.fixture
def admins(settings: Any) -> Iterator[None]:
    """Errors of the project are mailed, by our backend; silently, as Django itself does it before 6.1."""
    settings.ADMINS = [("Ann", "ann@example.com")] if django.VERSION < (6, 0) else ["ann@example.com"]
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"fail_silently": True}}}
    else:
        settings.EMAIL_BACKEND = BACKEND
    handler = AdminEmailHandler()
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


class OnlyLarge(EmailBackend):
    """The broker takes large mails' tasks, and fails then."""

    @staticmethod
    def _call_of(publication: Publication, *given: Any, **more: Any) -> Call:
        if not publication.mails[0].is_kept:
            raise OperationalError("connection refused")
        return proxy_call(publication, *given, **more)


def own_id(message_id: str) -> EmailMessage:
    mail = message()
    mail.mail_proxy = {"message_id": message_id}  # type: ignore[attr-defined]
    return mail


# -------------------------------------------------------------------- errors that are mailed


def test_a_failure_that_is_mailed_does_not_go_in_circles(
    admins: None, dead_broker: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    assert EmailBackend(fail_silently=True).send_messages([message()]) == 0
    assert [record.message.split(":")[0] for record in caplog.records] == ["1 emails are not sent (OperationalError)"]
    assert EmailLog.objects.count() == 1


def test_an_error_of_the_project_is_tried_to_be_mailed_once(
    admins: None, dead_broker: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("shop").error("no bicycles left")
    assert {record.name for record in caplog.records} == {"shop", "celery_mailproxy.django.backend.handover"}
    assert len(caplog.records) == 2
    # The failure itself would fail in the same way.
    assert EmailLog.objects.count() == 1


def test_an_error_that_publishing_logs_is_not_published_while_it_lasts(admins: None) -> None:
    def complain(**kwargs: Any) -> None:
        logging.getLogger("shop").error("the result backend is away")

    with published() as tasks:
        before_task_publish.connect(complain)
        try:
            assert EmailBackend().send_messages([message()]) == 1
        finally:
            before_task_publish.disconnect(complain)
        assert len(tasks) == 1
        logging.getLogger("shop").error("and now?")
        assert len(tasks) == 2


# -------------------------------------------------------------------- the log


@pytest.mark.parametrize("fail_silently", [True, False])
def test_a_mail_that_the_broker_did_not_take_ends_as_an_error(fail_silently: bool, dead_broker: Celery) -> None:
    mails = [message(1), message(2), message(3, body=LARGE)]
    told: list[Any] = []

    @mail_error.connect
    def tell(**kwargs: Any) -> None:
        told.append(kwargs)

    try:
        with suppress(OperationalError):
            EmailBackend(fail_silently=fail_silently).send_messages(mails)
    finally:
        mail_error.disconnect(tell)
    for log in EmailLog.objects.all():
        assert (log.status, log.error_message, log.is_known) == ("error", REASON, False)
        (event,) = log.events.all()
        assert (event.kind, event.is_dispatched) == ("error", True)
        assert "still on its way" not in str(refusal(log))
    assert EmailLog.objects.count() == 3
    # No handler may publish to the broker that is down; the caller has been told.
    assert told == []


def test_a_broker_that_is_down_at_the_commit_is_logged_and_others_run(
    dead_broker: Celery, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    with transaction.atomic():
        assert EmailBackend().send_messages([message()]) == 1
        transaction.on_commit(lambda: ran.append("another"))
    assert ran == ["another"]
    assert "1 emails are not sent (OperationalError)" in caplog.text
    assert "@example.com" not in caplog.text
    assert EmailLog.objects.get().status == "error"


def test_an_id_that_was_not_published_is_free_for_another_try(dead_broker: Celery) -> None:
    with pytest.raises(OperationalError):
        EmailBackend().send_messages([own_id("welcome/7")])
    first = EmailLog.objects.get()
    with published(mail_proxy_store="django://", mail_proxy_url="http://proxy.example.com") as tasks:
        EmailBackend().send_messages([own_id("welcome/7")])
        log = EmailLog.objects.get()
        assert (log.pk, log.status, log.error_message, log.ended_at) == (first.pk, "new", "", None)
        assert log.task_id == tasks[0].task_id != first.task_id
        assert not log.events.exists()
        (kept,) = register("welcome/7", log.task_id)
        assert kept.status == "new"


def test_a_failed_repetition_leaves_the_first_as_it_is(dead_broker: Celery) -> None:
    with published(mail_proxy_store="django://"):
        EmailBackend().send_messages([own_id("welcome/7")])
    with pytest.raises(OperationalError):
        EmailBackend().send_messages([own_id("welcome/7")])
    assert EmailLog.objects.get().status == "new"


def register(message_id: str, task_id: str) -> Any:
    """What the worker keeps of the mail when it begins."""
    from celery_mailproxy.mail.message import MailMessage

    arguments = {"to": ["to@example.com"], "from_email": "from@example.com", "body": "Body"}
    mail = MailMessage.from_arguments(arguments, message_id=message_id)
    return submitter_of(get_runtime()).register([Outgoing(message=mail)], task_id=task_id)


# -------------------------------------------------------------------- kept files


@pytest.mark.parametrize("store", ["django://", "memory://"])
def test_no_file_is_left_of_a_mail_that_was_not_published(store: str, transactional_db: None, folder: Path) -> None:
    conf = {"mail_proxy_store": store, "mail_proxy_attachment_inline_bytes": 1000, "mail_proxy_outbox": False}
    with default_app(**conf, **DEAD_BROKER), pytest.raises(OperationalError):
        EmailBackend().send_messages([message(body=LARGE)])
    assert files(folder) == []


# -------------------------------------------------------------------- what was published before


@pytest.fixture
def tasks(transactional_db: None) -> Iterator[list[Published]]:
    conf = {"mail_proxy_attachment_inline_bytes": 1000, "mail_proxy_outbox": False}
    with published(mail_proxy_store="django://", **conf) as tasks:
        yield tasks


def test_what_was_published_before_counts_and_has_its_id(tasks: list[Published], folder: Path) -> None:
    small, large = message(1), message(2, body=LARGE)
    assert OnlyLarge(fail_silently=True).send_messages([small, large]) == 1
    assert large.mail_proxy_id == tasks[0].task_id  # type: ignore[attr-defined]
    assert not hasattr(small, "mail_proxy_id")
    assert EmailLog.objects.get(message_id=tasks[0].task_id).status == "new"
    assert EmailLog.objects.exclude(message_id=tasks[0].task_id).get().status == "error"
    assert len(files(folder)) == 1


def test_what_was_published_before_an_error_has_its_id(tasks: list[Published]) -> None:
    small, large = message(1), message(2, body=LARGE)
    with pytest.raises(OperationalError):
        OnlyLarge().send_messages([small, large])
    assert large.mail_proxy_id == tasks[0].task_id  # type: ignore[attr-defined]
    assert not hasattr(small, "mail_proxy_id")
