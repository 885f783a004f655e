"""Forgetting mails: the store's `prune`, the query's, and `manage.py mailproxy_prune`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores import Retention
from celery_mailproxy.django.log import beginning, content
from celery_mailproxy.django.log.entries import LogEntry
from celery_mailproxy.django.log.store import DjangoStore
from celery_mailproxy.django.models import EmailLog, EmailLogEvent, EmailLogRelation

pytestmark = pytest.mark.django_db

AddMail = Callable[..., EmailLog]


@pytest.fixture
def add_mail() -> AddMail:
    """Logs a mail that has last changed so many days ago and expires in so many."""

    def add(message_id: str, *, status: str = "sent", changed: float = 0, expires: float = 30) -> EmailLog:
        now = utcnow()
        log = EmailLog.objects.create(
            message_id=message_id,
            status=status,
            created_at=now - timedelta(days=changed),
            updated_at=now - timedelta(days=changed),
            expires_at=now + timedelta(days=expires),
        )
        EmailLogEvent.objects.create(log=log, position=0, key="queued", kind="queued", at=now)
        return log

    return add


def run(*arguments: str, **options: Any) -> str:
    written = StringIO()
    call_command("mailproxy_prune", *arguments, stdout=written, **options)
    return written.getvalue()


def left() -> set[str]:
    return set(EmailLog.objects.values_list("message_id", flat=True))


def test_expired_mails_are_forgotten_with_their_history(add_mail: AddMail) -> None:
    expired, kept = add_mail("expired", expires=-1), add_mail("kept", expires=1)
    EmailLog.objects.filter(pk=kept.pk).update(resent_from=expired)
    assert run() == "1 email deleted.\n"
    assert left() == {"kept"}
    assert EmailLogEvent.objects.count() == 1
    assert EmailLog.objects.get().resent_from is None
    assert run() == "0 emails deleted.\n"


def test_days_choose_ended_mails_by_their_last_change(add_mail: AddMail) -> None:
    for status in EmailLog.Status.values:
        add_mail(f"old-{status}", status=status, changed=8)
        add_mail(f"new-{status}", status=status, changed=6)
    is_open = {"old-new", "old-queued", "old-deferred"}
    assert run("--days", "7") == f"{len(EmailLog.Status.values) - len(is_open)} emails deleted.\n"
    assert {each for each in left() if each.startswith("old")} == is_open
    assert run("--days", "7", "--pending") == "3 emails deleted.\n"
    assert len(left()) == len(EmailLog.Status.values)


def test_dry_run_forgets_nothing(add_mail: AddMail) -> None:
    add_mail("old", changed=8)
    add_mail("expired", expires=-1)
    assert run("--days", "7", "--dry-run") == "1 email would be deleted.\n"
    assert run("--dry-run") == "1 email would be deleted.\n"
    assert left() == {"old", "expired"}


def test_batches_show_their_progress(add_mail: AddMail) -> None:
    for number in range(5):
        add_mail(str(number), changed=9 - number)
    shown = run("--days", "1", "--batch", "2", verbosity=2)
    assert shown.splitlines() == [
        "2 emails deleted so far",
        "4 emails deleted so far",
        "5 emails deleted so far",
        "5 emails deleted.",
    ]


@pytest.mark.parametrize(
    "arguments", [("--days", "-1"), ("--days", "x"), ("--days", "nan"), ("--batch", "0"), ("--batch", "x")]
)
def test_arguments_that_make_no_sense_are_refused(add_mail: AddMail, arguments: tuple[str, str]) -> None:
    add_mail("old", changed=9, expires=-1)
    with pytest.raises(CommandError, match="must be a"):
        run(*arguments)
    assert left() == {"old"}


def test_pending_without_days_is_refused(add_mail: AddMail) -> None:
    add_mail("expired", expires=-1)
    with pytest.raises(CommandError, match="--days"):
        run("--pending")
    assert left() == {"expired"}


def test_store_forgets_the_oldest_first_and_no_more_than_its_limit(add_mail: AddMail) -> None:
    for number in range(7):
        add_mail(str(number), expires=-7 + number)
    store = DjangoStore(Retention(), settings=Settings)
    assert store.prune(limit=3) == 3
    assert left() == {"3", "4", "5", "6"}
    assert store.prune(now=utcnow() - timedelta(days=1.5)) == 3
    assert left() == {"6"}


def test_query_can_be_pruned(add_mail: AddMail) -> None:
    for number in range(5):
        add_mail(str(number))
    assert EmailLog.objects.filter(message_id__lt="3").order_by("id").prune(batch_size=2) == 3
    assert left() == {"3", "4"}


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_without_its_table_it_names_migrate(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmailLog._meta, "db_table", "celery_mailproxy_unmigrated")
    with pytest.raises(CommandError, match=r"manage\.py migrate"), transaction.atomic():
        run(*arguments)


@pytest.mark.django_db(transaction=True)
def test_contents_go_with_their_mails(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    name = content.keep(content.new_name(), b"x")
    entry = LogEntry(message_id="m", content_name=name, content=b"x" * 100_000)
    (log,) = beginning.begin([entry], settings=Settings(log_content=True))
    EmailLogRelation.objects.create(log=log, content_object=log)
    with CaptureQueriesContext(connection) as captured:
        assert EmailLog.objects.order_by("id").prune() == 1
    assert (left(), EmailLogRelation.objects.count(), content.load(name)) == (set(), 0, None)
    # Contents are large: none is read to be deleted.
    selects = [each["sql"] for each in captured if each["sql"].startswith("SELECT")]
    assert selects
    assert not any('"content"' in sql or "`content`" in sql for sql in selects)


@pytest.mark.django_db(transaction=True)
def test_contents_stay_where_the_transaction_is_undone(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    name = content.keep(content.new_name(), b"x")
    beginning.begin([LogEntry(message_id="m", content_name=name)], settings=Settings())
    with transaction.atomic():
        assert EmailLog.objects.order_by("id").prune() == 1
        transaction.set_rollback(True)
    assert (left(), content.load(name)) == ({"m"}, b"x")
