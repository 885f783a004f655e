"""The admin of a log that has a database of its own. `test_two_databases` runs these in a process of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.mail import EmailMessage
from django.db import connections
from django.test import Client
from django.urls import reverse

from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.models import EmailLog, EmailLogRelation
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.admin_pages import LIST, detail, new_mail, page, posted, said, shown

pytestmark = pytest.mark.django_db(databases=["default", "logs"])

Commit = Callable[..., Any]


@pytest.fixture
def about() -> User:
    return User.objects.create(username="zoe")


@pytest.fixture
def mail(about: User, proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit) -> Iterator[EmailLog]:
    message = EmailMessage("Your invoice", "Thank you!", "shop@example.com", ["ann@example.com"])
    message.mail_proxy = {"related": about}  # type: ignore[attr-defined]
    with (
        django_capture_on_commit_callbacks(execute=True),
        django_capture_on_commit_callbacks(using="logs", execute=True),
    ):
        EmailBackend().send_messages([message])
    EmailLog.objects.update(status="error")
    return EmailLog.objects.get()


def test_the_log_is_where_the_router_says(mail: EmailLog) -> None:
    assert [("celery_mailproxy_emaillog" in connections[name].introspection.table_names()) for name in connections] == [
        False,
        True,
    ]
    assert mail._state.db == "logs"


def test_a_page_shows_what_the_mail_is_about(admin_client: Client, mail: EmailLog, about: User) -> None:
    EmailLogRelation.objects.create(log=mail, content_type_id=_type_of(User), object_id="987654")
    EmailLogRelation.objects.create(log=mail, content_type_id=_type_of(User), object_id="no number")
    EmailLogRelation.objects.create(log=mail, content_type_id=987654, object_id="1")
    text = page(admin_client, detail(mail))
    assert f'<a href="{reverse("admin:auth_user_change", args=[about.pk])}">zoe</a>' in text
    assert "#987654" in text
    assert "#no number" in text


def test_a_mail_is_sent_again(
    admin_client: Client, mail: EmailLog, about: User, proxy: FakeProxy, django_capture_on_commit_callbacks: Commit
) -> None:
    page(admin_client, detail(mail, "resend"))
    with django_capture_on_commit_callbacks(using="logs", execute=True):
        text = posted(admin_client, detail(mail, "resend"))
    assert said(text) == ["1 e-mail is sent again."]
    again = EmailLog.objects.get(resent_from=mail)
    assert [each["id"] for each in proxy.received] == [mail.message_id, again.message_id]
    assert list(EmailLog.objects.for_object(about).order_by("pk")) == [mail, again]


def test_the_list_is_filtered_and_searched(admin_client: Client) -> None:
    for number in range(3):
        new_mail(f"m{number}", tenant_id=f"t{number}")
    assert shown(page(admin_client, reverse(LIST), tenant_id="t1", status__exact="sent")) == ["m1"]
    assert shown(page(admin_client, reverse(LIST), q="Subject of m2")) == ["m2"]


def _type_of(model: Any) -> int:
    return ContentType.objects.get_for_model(model).pk
