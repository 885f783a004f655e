"""The models: beginning a log, finding mails by what they are about, and migrations."""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

import celery_mailproxy.django
from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries import delivery as deliveries
from celery_mailproxy.deliveries import report as reports
from celery_mailproxy.deliveries.stores import open_store
from celery_mailproxy.django.admin.narrowing import narrowed
from celery_mailproxy.django.log import beginning
from celery_mailproxy.django.log.entries import LogEntry
from celery_mailproxy.django.models import EmailLog, EmailLogEvent, EmailLogRelation, EmailLogTag
from celery_mailproxy.mail import message as messages
from tests.contract.store_values import RETENTION, START, delivery

pytestmark = pytest.mark.django_db

ENTRY = LogEntry(
    message_id="m",
    sender="Shop <s@e.com>",
    recipients=("a@e.com", "b@e.com"),
    subject="Invoice",
    priority=1,
    tenant_id="t1",
    account_id="main",
    content=b"From: s@e.com\r\n\r\nbody",
    content_name="celery-mailproxy/1.eml",
)


def begin(*entries: LogEntry, **fields: Any) -> list[EmailLog]:
    return beginning.begin(entries, settings=Settings(**fields))


def test_begun_mail_is_new_and_nothing_of_its_body_is_kept() -> None:
    begin(ENTRY)
    log = EmailLog.objects.get()
    assert (log.message_id, log.status, log.is_known, log.is_ended) == ("m", "new", False, False)
    assert (log.sender, log.recipient_list, log.recipient_count) == ("Shop <s@e.com>", ["a@e.com", "b@e.com"], 2)
    assert (log.subject, log.priority, log.tenant_id, log.account_id) == ("Invoice", 1, "t1", "main")
    assert (log.server, log.batch_code, log.task_id) == ("default", "", "")
    assert (log.content, log.content_name) == (None, "celery-mailproxy/1.eml")


def test_content_is_kept_where_it_is_asked_for() -> None:
    begin(ENTRY, log_content=True)
    assert bytes(EmailLog.objects.get().content) == ENTRY.content


@pytest.mark.parametrize(
    ("setting", "subject", "recipients", "count", "sender"),
    [
        ("log_subject", "", "a@e.com\nb@e.com", 2, "Shop <s@e.com>"),
        ("log_recipients", "Invoice", "", 2, ""),
        ("store_summary", "", "", None, ""),
    ],
)
def test_what_is_switched_off_is_not_written(
    setting: str, subject: str, recipients: str, count: int | None, sender: str
) -> None:
    begin(ENTRY, **{setting: False})
    log = EmailLog.objects.get()
    assert (log.subject, log.recipients, log.recipient_count, log.sender) == (subject, recipients, count, sender)
    assert log.details == ""


def test_repeated_message_id_keeps_its_row() -> None:
    (first,) = begin(ENTRY)
    EmailLog.objects.update(status="sent", is_known=True)
    with transaction.atomic():
        other, again = begin(replace(ENTRY, message_id="n"), replace(ENTRY, subject="Another"))
    assert (again.pk, again.subject, again.status) == (first.pk, "Invoice", "sent")
    assert other.message_id == "n"
    assert begin() == []


def test_mails_are_found_by_what_they_are_about() -> None:
    # Only their types tell them apart.
    group, user = Group.objects.create(pk=4711, name="g"), User.objects.create(pk=4711, username="u")
    begin(
        replace(ENTRY, message_id="both", related=[group, user]),
        replace(ENTRY, message_id="group", related=[group]),
        replace(ENTRY, message_id="none"),
        replace(ENTRY, message_id="twice", related=[user, user]),
    )

    def about(related: Any) -> set[str]:
        return set(EmailLog.objects.for_object(related).values_list("message_id", flat=True))

    assert about(group) == {"both", "group"}
    assert about(user) == {"both", "twice"}
    assert EmailLogRelation.objects.first().content_object == group
    group.delete()
    assert EmailLog.objects.count() == 4


def test_mail_of_a_repeated_id_is_about_both_objects() -> None:
    one, other = (Group.objects.create(name=name) for name in "ab")
    begin(replace(ENTRY, related=[one]))
    begin(replace(ENTRY, related=[one, other]))
    assert [EmailLog.objects.for_object(each).count() for each in (one, other)] == [1, 1]


def test_odd_texts_do_not_stop_a_mail() -> None:
    odd = "a\0b\ud800c👋"
    begin(replace(ENTRY, message_id=odd, subject=odd, tenant_id=odd, recipients=[odd], sender=odd * 200))
    log = EmailLog.objects.get()
    assert log.subject == "a\ufffdb\ufffdc👋"
    log.subject.encode()


def test_texts_of_a_row_show_no_address() -> None:
    (log,) = begin(ENTRY)
    event = EmailLogEvent(log=log, kind="sent", at=log.created_at, position=0, key="sent:1", reason="<a@e.com>")
    assert str(log) == "m (new)"
    assert "e.com" not in str(event)


def test_report_stands_in_a_history_once() -> None:
    (log,) = begin(ENTRY)
    fields = {"log": log, "kind": "sent", "at": log.created_at, "key": "sent:1"}
    EmailLogEvent.objects.create(position=0, **fields)
    with pytest.raises(IntegrityError):
        EmailLogEvent.objects.create(position=1, **fields)


def test_choices_are_those_of_the_core() -> None:
    assert EmailLog.Status.values == [status.value for status in deliveries.Status]
    assert sorted(EmailLogEvent.Kind.values) == sorted(kind.value for kind in reports.Kind)
    values = EmailLog.Priority.values  # type: ignore[attr-defined]
    assert values == [priority.value for priority in messages.Priority]
    assert {status: EmailLog(status=status).is_ended for status in EmailLog.Status.values} == {
        status.value: status.is_end for status in deliveries.Status
    }


def test_migrations_say_what_the_models_say() -> None:
    written = StringIO()
    call_command("makemigrations", "celery_mailproxy", check=True, dry_run=True, stdout=written)
    assert "No changes detected" in written.getvalue()


def test_package_has_a_send_mail_and_nothing_else() -> None:
    assert celery_mailproxy.django.__all__ == ["send_mail"]
    assert celery_mailproxy.django.send_mail is importlib.import_module("celery_mailproxy.django.mail").send_mail
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        celery_mailproxy.django.other  # type: ignore[attr-defined]  # noqa: B018


# --- indexes


@pytest.fixture
def many_mails() -> None:
    """A table large enough for a planner to care: mails of 100 days, few of them remarkable."""
    now = reports.utcnow()
    EmailLog.objects.bulk_create(
        (
            EmailLog(
                message_id=f"m-{n}",
                status="error" if n % 1000 == 0 else "deferred" if n % 1001 == 0 else "sent",
                tenant_id=f"t{n % 50}",
                account_id=f"a{n % 50}",
                created_at=now - timedelta(minutes=7 * n),
                updated_at=now - timedelta(minutes=7 * n),
                expires_at=now + timedelta(days=98) - timedelta(minutes=7 * n),
                has_failed=n % 1000 == 5,
                silent_since=now - timedelta(minutes=n) if n % 1000 == 7 else None,
                due_at=now - timedelta(minutes=n) if n % 1000 == 9 else None,
            )
            for n in range(20_000)
        ),
        batch_size=1000,
    )
    EmailLogEvent.objects.bulk_create(
        (
            EmailLogEvent(
                log_id=key,
                position=0,
                key="sent",
                kind="sent",
                at=now,
                claimed_at=now - timedelta(minutes=n) if n % 1000 == 7 else None,
            )
            for n, key in enumerate(EmailLog.objects.order_by("pk").values_list("pk", flat=True)[:10_000])
        ),
        batch_size=1000,
    )
    tables = "celery_mailproxy_emaillog, celery_mailproxy_emaillogevent"
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE TABLE {tables}" if connection.vendor == "mysql" else "ANALYZE")


# MariaDB commits when it analyses a table.
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("many_mails")
def test_queries_over_many_mails_use_their_indexes() -> None:
    now = reports.utcnow()
    newest = ("-created_at", "-id")
    queries: dict[str, Any] = {
        "mailproxy_claimed": EmailLogEvent.objects.filter(claimed_at__lt=now).order_by("claimed_at")[:100],
        "mailproxy_created": EmailLog.objects.order_by(*newest)[:100],
        "mailproxy_status": EmailLog.objects.filter(status="error").order_by(*newest)[:100],
        "mailproxy_tenant": EmailLog.objects.filter(tenant_id="t7").order_by(*newest)[:100],
        "mailproxy_account": EmailLog.objects.filter(account_id="a7").order_by(*newest)[:100],
        "mailproxy_expires": EmailLog.objects.expired(now).order_by("expires_at")[:500],
        "mailproxy_updated": EmailLog.objects.filter(updated_at__lt=now - timedelta(days=96))
        .ended()
        .order_by("updated_at")[:500],
        "mailproxy_failed": EmailLog.objects.filter(has_failed__in=[True]).order_by(*newest)[:100],
        "mailproxy_silent": EmailLog.objects.filter(silent_since__lt=now).order_by("silent_since")[:100],
        "mailproxy_due": EmailLog.objects.filter(due_at__lt=now).order_by("due_at", "pk")[:100],
    }
    # Chosen together: by the one that is the rarest.
    together: dict[str, dict[str, Any]] = {
        "mailproxy_tenant": {"status": "sent", "tenant_id": "t7"},
        "mailproxy_account": {"status": "sent", "account_id": "a7"},
        "mailproxy_failed": {"status": "sent", "tenant_id": "t5", "has_failed": True},
    }
    mails = EmailLog.objects.order_by(*newest)
    narrow = [(index, narrowed(mails, choices, limit=1000)[0][:100]) for index, choices in together.items()]
    for index, query in [*queries.items(), *narrow]:
        plan = query.explain()
        assert index in plan, plan
        assert not any(word in plan for word in ("TEMP B-TREE", "filesort", "Seq Scan", " ALL ")), plan


LABELS: dict[str, Any] = {"metadata": {"order": 7}, "tags": ("receipt", "vip"), "expires_at": START}


def tags_of(message_id: str) -> list[str]:
    return sorted(EmailLogTag.objects.filter(log__message_id=message_id).values_list("tag", flat=True))


def test_metadata_and_tags_are_there_before_the_worker_has_the_mail() -> None:
    begin(replace(ENTRY, **LABELS))
    log = EmailLog.objects.get()
    assert (log.metadata, log.tags, log.not_after) == ('{"order":7}', '["receipt","vip"]', START)
    assert tags_of("m") == ["receipt", "vip"]
    # The same id once more keeps its own.
    begin(replace(ENTRY, tags=("other",)))
    assert tags_of("m") == ["receipt", "vip"]


def test_the_workers_registration_has_the_last_word_on_tags() -> None:
    store = open_store("django://", retention=RETENTION)
    begin(replace(ENTRY, tags=("receipt", "draft")))
    store.register([delivery("m", **LABELS), delivery("n", tags=("a" * 300, "a" * 300, "b"))])
    assert tags_of("m") == ["receipt", "vip"]
    assert len(tags_of("n")) == 2
    kept = store.get("m")
    assert kept is not None
    assert (kept.labels, kept.expires_at) == ({"metadata": {"order": 7}, "tags": ["receipt", "vip"]}, START)
