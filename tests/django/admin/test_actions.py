"""The admin's actions: a mail is sent again, and failed handlers run again."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email import message_from_string, policy
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.contrib.admin.models import LogEntry as AdminLogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from kombu.exceptions import OperationalError

from celery_mailproxy import Delivery, DeliveryReport, Kind
from celery_mailproxy.dispatch import signals
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.django.admin import actions as admin_actions
from celery_mailproxy.django.backend import resending
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.log import content
from celery_mailproxy.django.models import EmailLog, EmailLogRelation, OutboxMessage
from celery_mailproxy.django.tasks import replay_handlers
from celery_mailproxy.runtime import forget_runtime, get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.admin_pages import LIST, SOURCE, detail, new_mail, page, posted, said
from tests.django.harness.default_app import default_app
from tests.django.harness.publishing_app import published

pytestmark = pytest.mark.django_db

#: Runs what waits for the commit; pytest-django's fixture.
Commit = Callable[..., Any]


def ours(proxy: FakeProxy, message_id: str = "m1", **fields: Any) -> EmailLog:
    """A mail that the proxy would take again."""
    own = {"tenant_id": proxy.tenant_id, "account_id": proxy.account_id, "status": "error", "content": SOURCE}
    return new_mail(message_id, **{**own, **fields})


def test_a_mail_is_sent_again_under_a_new_id(
    clerk: Client, proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    paid = {"task": "shop.paid", "args": [7], "kwargs": {}, "options": {}}
    mail = ours(
        proxy,
        recipients="ann@example.com\nhidden@example.com",
        recipient_count=2,
        # An empty one held an address that was erased.
        callbacks=json.dumps({"sent": [{}, paid], "error": [{}]}),
        priority=1,
    )
    about = User.objects.create(username="zoe")
    EmailLogRelation.objects.create(
        log=mail, content_type=ContentType.objects.get_for_model(User), object_id=str(about.pk)
    )
    asked = page(clerk, detail(mail, "resend"))
    assert "under a new id" in asked
    assert proxy.received == []
    with django_capture_on_commit_callbacks(execute=True):
        text = posted(clerk, detail(mail, "resend"), token="0123abcd")
    assert said(text) == ["1 e-mail is sent again."]
    again = EmailLog.objects.get(resent_from=mail)
    assert again.message_id == "m1-resend-0123abcd"
    assert again.status == "queued"
    assert again.recipient_list == ["ann@example.com", "hidden@example.com"]
    assert again.subject == "Your invoice"
    assert again.priority == 1
    delivery = get_runtime(shop).store.get(again.message_id)
    assert delivery is not None
    assert delivery.callbacks == {"sent": [paid]}
    assert list(EmailLog.objects.for_object(about).order_by("pk")) == [mail, again]
    (received,) = proxy.received
    assert received["id"] == again.message_id
    assert received["to"] == ["ann@example.com"]
    assert received["bcc"] == ["hidden@example.com"]
    assert f'href="{detail(mail)}"' in page(clerk, detail(again))
    assert f'href="{detail(again)}"' in page(clerk, detail(mail))
    assert again.message_id in AdminLogEntry.objects.get().change_message


def test_the_mail_is_the_same_but_for_its_date_and_its_own_id(
    proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    mail = ours(proxy)
    with django_capture_on_commit_callbacks(execute=True):
        again = resending.resend(mail)
    before = message_from_string(SOURCE.decode(), policy=policy.default)
    after = message_from_string(
        bytes(again.content or EmailLog.objects.get(pk=again.pk).content).decode(), policy=policy.default
    )
    assert after["Message-ID"] != before["Message-ID"]
    assert after["Date"].datetime.year == datetime.now(timezone.utc).year
    for name in ("From", "To", "Subject", "Content-Type"):
        assert after[name] == before[name]
    assert [part.get_payload() for part in after.iter_parts()] == [part.get_payload() for part in before.iter_parts()]


def test_one_form_sends_once_however_often_it_is_submitted(
    clerk: Client, proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    mail = ours(proxy)
    token = re.search(r'name="token" value="(\w+)"', page(clerk, detail(mail, "resend")))
    assert token
    for _ in range(2):
        with django_capture_on_commit_callbacks(execute=True):
            posted(clerk, detail(mail, "resend"), token=token[1])
    assert [each["id"] for each in proxy.received] == [f"m1-resend-{token[1]}"]
    # Another form is another mail, and of a mail that was resent the first id stays.
    again = EmailLog.objects.get(resent_from=mail)
    EmailLog.objects.filter(pk=again.pk).update(status="sent")
    with django_capture_on_commit_callbacks(execute=True):
        posted(clerk, detail(again, "resend"), token="not a token")
    third = EmailLog.objects.get(resent_from=again)
    assert re.fullmatch(r"m1-resend-[0-9a-f]{8}", third.message_id)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"content": None}, "MAIL_PROXY_LOG_CONTENT = True"),
        ({"status": "deferred"}, "still on its way"),
        ({"recipients": "", "recipient_count": 2}, "MAIL_PROXY_LOG_RECIPIENTS = True"),
        ({"content": b"Subject: one\nSubject: two\n\nText"}, "must have each header once"),
    ],
)
def test_what_cannot_be_sent_again_says_why(
    clerk: Client, proxy: FakeProxy, shop: Celery, fields: dict[str, Any], reason: str
) -> None:
    mail = ours(proxy, **fields)
    assert reason in " ".join(said(posted(clerk, detail(mail, "resend"))))
    text = posted(clerk, reverse(LIST), action="resend", _selected_action=mail.pk, confirmed="yes")
    assert reason in " ".join(said(text))
    assert proxy.received == []
    assert EmailLog.objects.count() == 1


def test_recipients_that_are_not_logged_are_those_in_the_mail(
    proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        resending.resend(ours(proxy, recipients="", recipient_count=1))
    assert proxy.received[0]["to"] == ["ann@example.com"]


def test_the_action_asks_first_and_leaves_out_what_cannot_be_sent(
    clerk: Client, proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    mails = [ours(proxy, f"m{number}") for number in range(2)]
    chosen = [*(mail.pk for mail in mails), ours(proxy, "lost", content=None).pk]
    text = posted(clerk, reverse(LIST), action="resend", _selected_action=chosen, index=0)
    assert "These 2 mails are sent once more" in text
    assert "1 e-mail is left out. Its content is not kept." in text
    assert proxy.received == []
    form = dict(re.findall(r'<input type="hidden" name="(action|confirmed|token)" value="(\w+)">', text))
    pks = re.findall(r'name="_selected_action" value="(\d+)"', text)
    with django_capture_on_commit_callbacks(execute=True):
        text = posted(clerk, reverse(LIST), _selected_action=pks, **form)
    assert said(text) == ["2 e-mails are sent again."]
    assert sorted(each["id"] for each in proxy.received) == [f"m{n}-resend-{form['token']}" for n in range(2)]


def test_an_action_takes_a_limited_number_of_mails(
    clerk: Client, proxy: FakeProxy, shop: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_actions, "ACTION_LIMIT", 1)
    mails = [ours(proxy, f"m{number}") for number in range(2)]
    for action in ("resend", "cancel", "replay"):
        data = {"action": action, "_selected_action": [mails[0].pk], "select_across": 1, "index": 0}
        assert said(posted(clerk, reverse(LIST), **data)) == ["Choose at most 1 e-mails."]


def test_who_may_only_view_has_no_actions(viewer: Client, proxy: FakeProxy, shop: Celery) -> None:
    mail = ours(proxy)
    for action in ("resend", "cancel", "replay"):
        posted(viewer, reverse(LIST), action=action, _selected_action=mail.pk, confirmed="yes")
    assert proxy.received == []
    assert EmailLog.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_where_the_broker_is_down_nothing_is_left_of_it(
    proxy: FakeProxy, caplog: pytest.LogCaptureFixture, admin_client: Client
) -> None:
    with (
        default_app(
            broker_url="redis://127.0.0.1:1/0",
            task_publish_retry=False,
            mail_proxy_url=proxy.url,
            mail_proxy_log_content=True,
            mail_proxy_outbox=False,
        ),
        caplog.at_level(logging.ERROR),
    ):
        mail = ours(proxy)
        assert said(posted(admin_client, detail(mail, "resend"))) == ["The broker cannot be reached."]
    assert list(EmailLog.objects.all()) == [mail]
    assert "was not published" in caplog.text
    assert "example.com" not in caplog.text


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_renamed", [False, True])
def test_where_the_broker_is_down_no_file_of_a_large_mail_is_left(
    proxy: FakeProxy, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_renamed: bool
) -> None:
    settings.STORAGES = {
        **settings.STORAGES,
        "mail_proxy": {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": tmp_path}},
    }
    if is_renamed:
        (tmp_path / "taken.eml").write_bytes(b"another's")
        monkeypatch.setattr(content, "new_name", lambda: "taken.eml")
        # What is there under the name that was asked for is not ours.
        monkeypatch.setattr(content, "keep", lambda name, source: _kept_elsewhere(tmp_path, source))
    with default_app(
        broker_url="redis://127.0.0.1:1/0",
        task_publish_retry=False,
        mail_proxy_url=proxy.url,
        mail_proxy_attachment_inline_bytes=100,
        mail_proxy_outbox=False,
    ):
        mail = ours(proxy)
        with pytest.raises(OperationalError):
            resending.resend(mail)
    assert list(EmailLog.objects.all()) == [mail]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "taken.eml"] == []


def _kept_elsewhere(folder: Path, source: bytes) -> str:
    (folder / "taken_1.eml").write_bytes(source)
    return "taken_1.eml"


@pytest.mark.django_db(transaction=True)
def test_a_form_submitted_again_with_the_broker_down_leaves_the_first_mail_as_it_is(proxy: FakeProxy) -> None:
    """The first one's task may be waiting for a worker, and its result for the log."""
    mail = ours(proxy)
    with default_app(mail_proxy_url=proxy.url):
        again = resending.resend(mail, token="0123abcd")
    conf = {"broker_url": "redis://127.0.0.1:1/0", "task_publish_retry": False, "mail_proxy_outbox": False}
    with default_app(mail_proxy_url=proxy.url, **conf), pytest.raises(OperationalError):
        resending.resend(mail, token="0123abcd")
    assert list(EmailLog.objects.order_by("pk")) == [mail, again]


@pytest.mark.django_db(transaction=True)
def test_with_the_outbox_what_is_resent_waits_for_the_broker(proxy: FakeProxy, admin_client: Client) -> None:
    conf = {"broker_url": "redis://127.0.0.1:1/0", "task_publish_retry": False, "mail_proxy_log_content": True}
    with default_app(mail_proxy_url=proxy.url, **conf):
        mail = ours(proxy)
        assert said(posted(admin_client, detail(mail, "resend"))) == ["1 e-mail is sent again."]
    again = EmailLog.objects.exclude(pk=mail.pk).get()
    assert (again.status, again.resent_from) == ("new", mail)
    assert OutboxMessage.objects.get().task_id == again.task_id


# The envelope's sender


def envelope_sender(proxy: FakeProxy) -> str | None:
    return proxy.received[-1].get("return_path")


def test_the_envelope_has_the_sender_that_it_had(
    proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    for headers, option in (({}, "bounces@example.com"), ({"From": "Shop <shop@example.com>"}, None)):
        mail = EmailMessage("Hi", "Text", "bounces@example.com", ["ann@example.com"], headers=headers)
        mail.from_email = "shop@example.com" if option else "bounces@example.com"
        mail.mail_proxy = {"return_path": option}  # type: ignore[attr-defined]
        with django_capture_on_commit_callbacks(execute=True):
            EmailBackend().send_messages([mail])
        assert envelope_sender(proxy) == "bounces@example.com"
        sent = EmailLog.objects.latest("pk")
        assert sent.return_path == "bounces@example.com"
        EmailLog.objects.update(status="sent")
        sent.refresh_from_db()
        with django_capture_on_commit_callbacks(execute=True):
            again = resending.resend(sent)
        assert (envelope_sender(proxy), again.return_path) == ("bounces@example.com", "bounces@example.com")
        assert proxy.received[-1]["from"] == proxy.received[-2]["from"]


def test_the_envelopes_sender_is_kept_where_it_says_something_and_may_be(
    clerk: Client, proxy: FakeProxy, shop: Celery, django_capture_on_commit_callbacks: Commit
) -> None:
    def logged(**options: Any) -> EmailLog:
        mail = EmailMessage("Hi", "Text", "Shop <shop@example.com>", ["ann@example.com"])
        mail.mail_proxy = options  # type: ignore[attr-defined]
        with django_capture_on_commit_callbacks(execute=True):
            EmailBackend().send_messages([mail])
        return EmailLog.objects.latest("pk")

    assert logged().return_path is None
    mail = logged(return_path="bounces+ann=example.com@example.com")
    assert "bounces+ann=example.com@example.com" in page(clerk, detail(mail))
    # It may name the recipient.
    shop.conf.mail_proxy_log_recipients = False
    forget_runtime(shop)
    assert logged(return_path="bounces+ann=example.com@example.com").return_path is None


# Replay


@pytest.fixture
def handler() -> Iterator[dict[str, Any]]:
    """A handler of `mail_sent` that raises while `is_broken`."""
    state = {"is_broken": True, "calls": 0}

    def book(report: Any, **kwargs: Any) -> None:
        state["calls"] += 1
        if state["is_broken"]:
            raise RuntimeError("the books are closed")

    signals.mail_sent.connect(book, weak=False)
    yield state
    signals.mail_sent.disconnect(book)


def failed_mail(app: Celery) -> EmailLog:
    runtime = get_runtime(app)
    now = datetime.now(timezone.utc)
    runtime.store.register([Delivery(message_id="m1", created_at=now, updated_at=now)])
    dispatcher_of(runtime).dispatch([DeliveryReport(kind=Kind.SENT, message_id="m1", at=now)])
    return EmailLog.objects.get(message_id="m1")


@pytest.mark.parametrize("way", ["button", "action"])
def test_failed_handlers_run_again(clerk: Client, shop: Celery, handler: dict[str, Any], way: str) -> None:
    mail = failed_mail(shop)
    assert mail.has_failed
    assert detail(mail, "replay") in page(clerk, detail(mail))

    def replayed() -> list[str]:
        if way == "button":
            return said(posted(clerk, detail(mail, "replay")))
        return said(posted(clerk, reverse(LIST), action="replay", _selected_action=mail.pk, index=0))

    told = ["The failed handlers of 1 e-mail are being run again. Its page shows which fail once more."]
    assert replayed() == told
    assert EmailLog.objects.get().has_failed
    handler["is_broken"] = False
    assert replayed() == told
    assert handler["calls"] == 3
    assert not EmailLog.objects.get().has_failed
    assert replayed() == ["No handler has failed."]
    assert handler["calls"] == 3
    assert detail(mail, "replay") not in page(clerk, detail(mail))


def test_failed_handlers_run_in_the_worker(
    clerk: Client, shop: Celery, handler: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    mail = failed_mail(shop)
    handler["is_broken"] = False
    damaged = new_mail("damaged", has_failed=True, details="[")
    with published() as tasks:
        data = {"action": "replay", "_selected_action": [mail.pk, damaged.pk], "index": 0}
        (told,) = said(posted(clerk, reverse(LIST), **data))
    assert told.startswith("The failed handlers of 2 e-mails are being run again.")
    assert handler["calls"] == 1
    (task,) = tasks
    assert (task.name, sorted(task.args[0])) == ("celery_mailproxy.replay_handlers", ["damaged", "m1"])
    # One that fails stops no other.
    replay_handlers(["damaged", "m1"])
    assert handler["calls"] == 2
    assert not EmailLog.objects.get(pk=mail.pk).has_failed
    assert "message damaged: its handlers were not run again" in caplog.text


def test_where_the_broker_is_down_no_handler_runs(clerk: Client, shop: Celery, handler: dict[str, Any]) -> None:
    mail = failed_mail(shop)
    with default_app(broker_url="redis://127.0.0.1:1/0", task_publish_retry=False):
        assert said(posted(clerk, detail(mail, "replay"))) == ["The broker cannot be reached."]
    assert handler["calls"] == 1
    assert not AdminLogEntry.objects.exists()


def test_looking_at_the_address_replays_nothing(clerk: Client, shop: Celery, handler: dict[str, Any]) -> None:
    mail = failed_mail(shop)
    page(clerk, detail(mail, "replay"), 405)
    assert handler["calls"] == 1


def test_mails_are_cancelled(clerk: Client, shop: Celery, proxy: FakeProxy) -> None:
    store = get_runtime(shop).store
    own = {"tenant_id": proxy.tenant_id, "account_id": proxy.account_id}
    waiting = new_mail("waiting", status="new", is_known=True, **own)
    queued = new_mail("queued", status="queued", is_known=True, **own)
    sent = new_mail("sent", status="sent", is_known=True, **own)
    data = {"action": "cancel", "_selected_action": [each.pk for each in (waiting, queued, sent)], "index": 0}
    assert said(posted(clerk, reverse(LIST), **data)) == [
        "1 e-mail is cancelled.",
        "For 1 e-mail it was too late.",
        # The proxy has never heard of it.
        "1 e-mail may have been sent.",
    ]
    assert {each.message_id: each.status for each in EmailLog.objects.all()} == {
        "waiting": "cancelled",
        "queued": "queued",
        "sent": "sent",
    }
    (entry,) = AdminLogEntry.objects.all()
    assert (entry.object_id, entry.change_message) == (str(waiting.pk), "Cancelled.")
    found = store.get("queued")
    assert found is not None
    assert found.is_withdrawn


def test_nothing_is_cancelled_while_the_store_is_damaged(clerk: Client, shop: Celery) -> None:
    mail = new_mail("damaged", status="new", is_known=True, callbacks="{")
    data = {"action": "cancel", "_selected_action": [mail.pk], "index": 0}
    (text,) = said(posted(clerk, reverse(LIST), **data))
    assert "damaged" in text
