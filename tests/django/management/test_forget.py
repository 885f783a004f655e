"""`manage.py mailproxy_forget`: an address leaves the log of mails, and all that is kept beside it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from django.core.management import call_command
from django.core.management.base import CommandError

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, utcnow
from celery_mailproxy.django.drain.models import DeadLetter
from celery_mailproxy.django.log import content
from celery_mailproxy.django.log.beginning import begin
from celery_mailproxy.django.log.entries import LogEntry
from celery_mailproxy.django.models import EmailLog, EmailLogEvent
from celery_mailproxy.runtime import get_runtime
from tests.django.harness.default_app import default_app

pytestmark = pytest.mark.django_db(transaction=True)

ANN = "ann@example.com"


@pytest.fixture
def app() -> Iterator[Celery]:
    conf = {"mail_proxy_url": "http://127.0.0.1:1", "mail_proxy_sync_token": "t", "mail_proxy_store": "django://"}
    with default_app(**conf) as app:
        yield app


def source(to: str, text: str) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, "Dear Ann"
    message.set_content(text, cte="base64")
    return message.as_bytes()


def log(app: Celery, message_id: str, to: str = f"Ann Doe <{ANN}>", **fields: Any) -> None:
    """A mail as the web process begins it and a worker registers it."""
    settings = Settings(log_content=True)
    values: dict[str, Any] = {"recipients": [to], "sender": "shop@example.com", "subject": "Dear Ann Doe", **fields}
    begin([LogEntry(message_id=message_id, task_id=message_id, **values)], settings=settings)
    now = utcnow()
    summary = {"subject": values["subject"], "from": values["sender"], "to": values["recipients"], "recipients": 1}
    get_runtime(app).store.register(
        [Delivery(message_id=message_id, created_at=now, updated_at=now, task_id=message_id, summary=summary)]
    )


def end(app: Celery, message_id: str, kind: Kind = Kind.SENT, **fields: Any) -> None:
    store = get_runtime(app).store
    report = DeliveryReport(kind=kind, message_id=message_id, at=utcnow(), **fields)
    store.record([report], claim="task")
    store.mark_dispatched([Dispatched(message_id=message_id, key=report.key)])


def forget(*options: str, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    exits: AbstractContextManager[object] = pytest.raises(SystemExit, match=f"^{code}$") if code else nullcontext()
    with exits:
        call_command("mailproxy_forget", ANN, *options, stdout=out, stderr=err)
    return out.getvalue()


def everything() -> str:
    """All columns of all rows, as text."""
    rows = [*EmailLog.objects.values_list(), *EmailLogEvent.objects.values_list()]
    return repr([[bytes(each) if isinstance(each, memoryview) else each for each in row] for row in rows])


def test_it_leaves_every_column_of_an_ended_mail(app: Celery) -> None:
    log(app, "m1", content=source(f"Ann Doe <{ANN}>", "Hello"), return_path=f"bounces/{ANN}")
    reason = f"550 5.1.1 <{ANN}>: unknown"
    end(app, "m1", Kind.ERROR, reason=reason, raw={"id": "m1", "error_ts": 1, "error": reason})
    assert ANN in everything()
    assert forget() == "The address was erased from 1 of 1 records.\n"
    assert ANN not in everything()
    row = EmailLog.objects.get()
    assert (row.recipients, row.subject, row.error_message) == ("<address>", "", "550 5.1.1 <address>: unknown")
    assert (row.content, row.return_path, row.status) == (None, None, "error")
    assert forget() == "The address was erased from 0 of 1 records.\n"


def test_a_kept_content_is_searched_in_what_it_encodes(app: Celery) -> None:
    log(app, "m1", "bob@example.com", content=source("bob@example.com", f"Write to {ANN}."))
    log(app, "m2", "bob@example.com", content=source("bob@example.com", f"Write to jo{ANN}."))
    end(app, "m1")
    end(app, "m2")
    assert forget("--dry-run") == "The address would be erased from 1 of 2 records.\n"
    assert EmailLog.objects.filter(content=None).count() == 0
    assert forget() == "The address was erased from 1 of 2 records.\n"
    assert [row.content is None for row in EmailLog.objects.order_by("pk")] == [True, False]
    assert EmailLog.objects.get(message_id="m1").recipients == "bob@example.com"


@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_a_mail_with_a_blind_copy_to_it_cannot_be_sent_again(app: Celery, options: list[str]) -> None:
    log(app, "m1", content=source("bob@example.com", "Hello"), recipients=["bob@example.com", ANN])
    end(app, "m1")
    verb = "would be" if options else "was"
    assert forget(*options) == f"The address {verb} erased from 1 of 1 records.\n"
    row = EmailLog.objects.get()
    expected = (f"bob@example.com\n{ANN}", False) if options else ("bob@example.com\n<address>", True)
    assert (row.recipients, row.content is None) == expected
    assert row.subject == "Dear Ann Doe"


def test_a_mail_that_has_not_ended_keeps_all_it_has(app: Celery) -> None:
    kept = source(f"Ann <{ANN}>", "Hello")
    log(app, "m1", content=kept)
    log(app, "m2", "bob@example.com", content=source("bob@example.com", f"Write to {ANN}."))
    before = everything()
    done = json.loads(forget("--json", code=3))
    ids = [each["id"] for each in done["kept"]]
    assert (done["changed"], sorted(ids)) == (0, ["m1", "m2"])
    assert everything() == before
    end(app, "m1")
    assert json.loads(forget("--json", code=3))["changed"] == 1


def test_a_file_that_was_left_over_is_deleted(app: Celery, folder: Path) -> None:
    name = content.keep(content.new_name(), source(f"Ann <{ANN}>", "Hello"))
    log(app, "m1", "bob@example.com", content_name=name)
    end(app, "m1")
    # As after a storage that was away when the mail ended.
    EmailLog.objects.update(content_name=content.keep(name, source(f"Ann <{ANN}>", "Hello")))
    assert len(content.names()) == 1
    assert forget() == "The address was erased from 1 of 1 records.\n"
    assert content.names() == []
    assert EmailLog.objects.get().content_name == ""


def test_an_ended_mail_with_the_address_in_its_id_is_deleted_with_its_events(app: Celery) -> None:
    log(app, f"welcome:{ANN}")
    end(app, f"welcome:{ANN}")
    assert "1 of them deleted" in forget()
    assert (EmailLog.objects.count(), EmailLogEvent.objects.count()) == (0, 0)


def test_dead_letters_are_named(app: Celery) -> None:
    for name, to in (("t-ann", ANN), ("t-bob", "bob@example.com")):
        DeadLetter.objects.create(message_id=name, task_id="t", reason="x", content=json.dumps({"to": [to]}))
    assert json.loads(forget("--json", code=3))["kept"] == [{"kind": "dead letter", "id": "t-ann", "status": None}]
    assert DeadLetter.objects.count() == 2


def test_nothing_of_it_is_shown_or_logged(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    log(app, "m1")
    end(app, "m1")
    log(app, f"open:{ANN}")
    with caplog.at_level(logging.INFO):
        assert ANN not in forget(code=3)
    assert ANN not in caplog.text


def test_it_wants_one_address(app: Celery) -> None:
    with pytest.raises(CommandError, match="must be one mail address"):
        call_command("mailproxy_forget", "ann")
