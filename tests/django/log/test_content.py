"""Large mails: what stays off the broker, where it is kept, how the proxy gets it, and when it is deleted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import Retry
from django.core.mail import EmailMessage
from django.db import transaction

from celery_mailproxy.django.backend.references import separate
from celery_mailproxy.django.backends import EmailBackend
from celery_mailproxy.django.log import content
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.django.tasks import discard_content, send_kept
from celery_mailproxy.errors import InvalidMessage, UnforeseenError
from celery_mailproxy.receiver.resolvers import DEFAULT_REGISTRY, AttachmentNotFound
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.default_app import default_app
from tests.django.harness.kept_files import files
from tests.django.harness.messages import MESSAGES, converted, message, with_files
from tests.django.harness.publishing_app import Published, published
from tests.harness.proxy_conf import proxy_conf

# Nothing large is kept outside this test's folder.
pytestmark = pytest.mark.usefixtures("folder")


def unattached() -> EmailMessage:
    return message(body="Long text\n" * 200)


# -------------------------------------------------------------------- what goes where


def test_a_small_mail_goes_by_the_broker(tasks: list[Published], folder: Path) -> None:
    EmailBackend().send_messages([message()])
    assert "raw" in tasks[0].kwargs
    assert files(folder) == []


def test_zero_switches_it_off(transactional_db: None, folder: Path) -> None:
    with published(mail_proxy_attachment_inline_bytes=0) as tasks:
        EmailBackend().send_messages([message(body="Long text\n" * 100_000)])
    assert "raw" in tasks[0].kwargs
    assert files(folder) == []


def test_of_a_large_mail_the_broker_has_a_reference(tasks: list[Published], folder: Path) -> None:
    mail = with_files()
    EmailBackend().send_messages([mail, message()])
    kept, other = tasks
    assert (kept.name, kept.task_id) == ("celery_mailproxy.send_kept", mail.mail_proxy_id)  # type: ignore[attr-defined]
    assert other.name == "celery_mailproxy.send_via_proxy"
    assert len(json.dumps(kept.kwargs)) < 300
    (file,) = files(folder)
    assert EmailLog.objects.get(message_id=kept.task_id).content_name == str(file.relative_to(folder))
    assert kept.kwargs["content_name"] == str(file.relative_to(folder))


def test_without_the_outbox_a_file_is_written_at_the_commit(transactional_db: None, folder: Path) -> None:
    conf = {"mail_proxy_attachment_inline_bytes": 1000, "mail_proxy_outbox": False}
    with published(mail_proxy_store="django://", **conf):
        with transaction.atomic():
            EmailBackend().send_messages([with_files()])
            transaction.set_rollback(True)
        assert files(folder) == []
        with transaction.atomic():
            EmailBackend().send_messages([with_files()])
        assert len(files(folder)) == 1


def test_a_storage_that_renames_is_followed(tasks: list[Published], folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(content, "new_name", lambda: "taken.eml")
    (folder / "taken.eml").write_bytes(b"another")
    EmailBackend().send_messages([with_files()])
    name = EmailLog.objects.get().content_name
    assert name != "taken.eml"
    assert (folder / name).exists()
    assert tasks[0].kwargs["content_name"] == name


@pytest.mark.parametrize("name", MESSAGES)
def test_only_plain_files_beside_a_text_are_separated(name: str) -> None:
    source = converted(MESSAGES[name]()).arguments["raw"]
    assert (separate(source) is not None) == (name == "files")


# -------------------------------------------------------------------- the worker's side


@contextmanager
def worker_of(api: Any) -> Iterator[FakeProxy]:
    with FakeProxy(api) as proxy:
        conf = {
            "mail_proxy_store": "django://",
            **proxy_conf(proxy),
            "mail_proxy_attachment_inline_bytes": 1000,
            "task_always_eager": True,
        }
        with default_app(**conf):
            yield proxy


@pytest.fixture
def worker(transactional_db: None) -> Iterator[FakeProxy]:
    with worker_of("commands") as proxy:
        yield proxy


def test_the_worker_submits_a_mail_that_is_one_text_as_a_whole(worker: FakeProxy) -> None:
    mail = unattached()
    EmailBackend().send_messages([mail])
    (submitted,) = worker.received
    assert submitted["id"] == mail.mail_proxy_id  # type: ignore[attr-defined]
    assert submitted["body"].count("Long text") == 200
    assert EmailLog.objects.get().status == "queued"


def test_the_proxy_gets_references_to_what_was_attached(worker: FakeProxy) -> None:
    EmailBackend().send_messages([with_files()])
    (submitted,) = worker.received
    assert submitted["body"].strip() == "Body"
    attachments = submitted["attachments"]
    assert [one["fetch_mode"] for one in attachments] == ["endpoint"] * 4
    assert [one["filename"] for one in attachments] == ["rép rt.pdf", "notes.txt", "x" * 100 + ".bin", "table.csv"]
    answers = [DEFAULT_REGISTRY.resolve(one["storage_path"]).content for one in attachments]
    assert [answer[:5] for answer in answers] == [b"\x89PNG\r", b"Gr\xc3\xb6\xc3", b"\x00\xff\x00\xff\x00", b"a,b\n1"]


def test_a_proxy_that_forgets_tenants_gets_their_url_with_each_reference(transactional_db: None) -> None:
    with worker_of("entities") as proxy:
        proxy.report_to("http://shop.example")
        EmailBackend().send_messages([with_files()])
        (submitted,) = proxy.received
    assert [one["storage_path"].partition("]")[0] for one in submitted["attachments"]] == [
        "[http://shop.example/mail-proxy/attachments"
    ] * 4


def test_a_mail_whose_file_is_gone_is_refused(worker: FakeProxy, folder: Path) -> None:
    arguments = {"to": ["to@example.com"], "from_email": "from@example.com", "message_id": "m1"}
    with pytest.raises(InvalidMessage, match="content_name: must name a file that is there"):
        send_kept.apply(kwargs={"content_name": "gone.eml", **arguments}, task_id="m1", throw=True)
    assert get_runtime().store.get("m1").status.value == "rejected"  # type: ignore[union-attr]
    assert worker.received == []


def test_a_task_that_comes_again_after_the_end_of_its_mail_does_nothing(worker: FakeProxy) -> None:
    arguments = {"to": ["to@example.com"], "from_email": "from@example.com"}
    for _ in range(2):
        answer = send_kept.apply(kwargs={"content_name": "gone.eml", **arguments}, task_id="m2")
    assert answer.result == {"id": "m2", "queued": 1, "rejected": []}


def test_a_storage_that_is_away_is_asked_again(worker: FakeProxy, folder: Path) -> None:
    (folder / "away.eml").mkdir()
    task = send_kept._get_current_object()
    task.push_request(id="m3", kwargs={}, args=(), retries=500, is_eager=False, called_directly=False)
    try:
        with pytest.raises(Retry):
            task.run(content_name="away.eml", to=["to@example.com"], from_email="from@example.com")
    finally:
        task.pop_request()


def test_a_file_that_nobody_can_read_is_tried_again_and_ends_its_mail(worker: FakeProxy, folder: Path) -> None:
    (folder / "odd.eml").write_bytes(b"Subject: \xff\xfe\n\nBody")
    arguments = {"to": ["to@example.com"], "from_email": "from@example.com", "content_name": "odd.eml"}
    task = send_kept._get_current_object()
    for retries, raised in ((0, Retry), (300, UnforeseenError)):
        task.push_request(id="m4", kwargs=arguments, args=(), retries=retries, is_eager=False, called_directly=False)
        try:
            with pytest.raises(raised):
                task.run(**arguments)
        finally:
            task.pop_request()
    assert get_runtime().store.get("m4").status.value == "error"  # type: ignore[union-attr]


# -------------------------------------------------------------------- deleting


def test_a_file_is_deleted_and_nothing_is_said_if_it_is_gone(folder: Path) -> None:
    name = content.keep(content.new_name(), b"Subject: S\n\nBody")
    assert content.load(name) == b"Subject: S\n\nBody"
    content.discard([name])
    content.discard([name])
    assert content.load(name) is None


def test_a_storage_that_fails_keeps_nothing_from_being_deleted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = content.keep(content.new_name(), b"Subject: S\n\nBody")
    with caplog.at_level(logging.ERROR):
        content.discard(["../outside", name])
    assert "../outside" in caplog.text
    assert files(folder) == []


def test_with_another_store_the_mails_end_deletes_its_file(folder: Path) -> None:
    with published(mail_proxy_attachment_inline_bytes=1000) as tasks:
        EmailBackend().send_messages([unattached()])
        (task,) = tasks
        for callback in ("on_sent", "on_error"):
            (discard,) = task.kwargs[callback]
            assert (discard["task"], discard["immutable"]) == ("celery_mailproxy.discard_content", True)
            assert discard["args"] == [task.kwargs["content_name"]]
        discard_content(task.kwargs["content_name"])
    assert files(folder) == []


# -------------------------------------------------------------------- who may ask


@pytest.mark.parametrize(
    "path",
    [
        "mailproxy_content=celery-mailproxy%2Fx.eml&part=1",
        "mailproxy_content=celery-mailproxy%2Fx.eml%3Aforged&part=1",
        "mailproxy_content=x",
    ],
)
def test_a_reference_that_is_not_signed_finds_nothing(path: str, folder: Path) -> None:
    (folder / "celery-mailproxy").mkdir()
    (folder / "celery-mailproxy" / "x.eml").write_bytes(b"Subject: S\n\nBody")
    with pytest.raises(AttachmentNotFound):
        DEFAULT_REGISTRY.resolve(path)


def test_a_reference_to_what_is_deleted_finds_nothing() -> None:
    with pytest.raises(AttachmentNotFound):
        DEFAULT_REGISTRY.resolve(content.reference("gone.eml", 1))
