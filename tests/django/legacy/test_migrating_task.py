"""`MigrationEmailBackend`: one task, whose mails are sent through the proxy or the project's former backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import django
import pytest
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.signals import before_task_publish, task_revoked
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from celery_mailproxy.dispatch import signals
from celery_mailproxy.django.backends import EmailBackend, MigrationEmailBackend
from celery_mailproxy.django.legacy import migrating_task
from celery_mailproxy.errors import InvalidMessage, UnforeseenError
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.migration.legacy import LegacyMail
from celery_mailproxy.migration.run import MigrationRun
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending import handover
from celery_mailproxy.tasks.sending.arguments import one_outgoing
from celery_mailproxy.testing import FakeProxy, MailSink
from tests.django.harness.default_app import default_app
from tests.harness.proxy_conf import proxy_conf

TASK = "celery_mailproxy.send_migrating"
TELLING = (signals.mail_queued, signals.mail_sent, signals.mail_error, signals.mail_deferred)


class Project:
    """Hands mails to the backend, and runs what it publishes as a worker does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.published: list[tuple[str, list[Any], str]] = []
        self.told: list[tuple[str, str, str]] = []

    def send(self, *mails: EmailMessage) -> int:
        return int(MigrationEmailBackend().send_messages(mails))

    def work(self, *, retries: int = 0) -> list[tuple[str, Any]]:
        """Run every task that has been published; their states and results."""
        return [self.run(task_id, args, retries=retries) for name, args, task_id in self.published if name == TASK]

    def run(self, task_id: str, args: list[Any], *, retries: int = 0) -> tuple[str, Any]:
        task = self.app.tasks[TASK]
        states: list[tuple[str, Any]] = []
        for name, state in (("done", "SUCCESS"), ("failure", "FAILURE"), ("retry", "RETRY")):
            setattr(
                task.backend,
                f"mark_as_{name}",
                lambda task_id, result, *args, state=state, **kwargs: states.append((state, result)),
            )
        request = {"id": task_id, "args": args, "kwargs": {}, "retries": retries, "is_eager": False}
        request |= {"delivery_info": {"routing_key": "celery", "exchange": ""}, "called_directly": False}
        build_tracer(TASK, task, app=self.app)(task_id, args, {}, request=request)
        return states[-1]

    def revoke(self, *, retries: int = 1, expired: bool = False) -> None:
        """As a worker that takes what has been published, and finds it revoked."""
        for name, args, task_id in self.published:
            request = Context(id=task_id, args=args, kwargs={}, retries=retries, delivery_info={"redelivered": False})
            how = {"terminated": False, "signum": None, "expired": expired}
            task_revoked.send(sender=self.app.tasks[name], request=request, **how)

    def note(self, signal: Any, report: Any, **kwargs: Any) -> None:
        self.told.append((signal.name, report.message_id, report.via))

    def note_task(self, sender: str, body: Any, headers: Any, **kwargs: Any) -> None:
        if not headers.get("retries"):
            self.published.append((sender, list(body[0]), headers["id"]))


@pytest.fixture
def make_project(proxy: FakeProxy, mail_sink: MailSink, settings: Any) -> Iterator[Any]:
    if django.VERSION >= (6, 1):
        options = {"host": mail_sink.host, "port": mail_sink.port}
        smtp, memory = (f"django.core.mail.backends.{name}.EmailBackend" for name in ("smtp", "locmem"))
        settings.MAILERS = {
            "default": {"BACKEND": "celery_mailproxy.django.backends.MigrationEmailBackend"},
            "before": {"BACKEND": smtp, "OPTIONS": options},
            "memory": {"BACKEND": memory},
        }
    else:
        settings.EMAIL_HOST, settings.EMAIL_PORT = mail_sink.host, mail_sink.port
    stack = ExitStack()

    def make(conf: dict[str, Any] | None = None, **migration: Any) -> Project:
        values = {
            "mail_proxy_store": "memory://",
            **proxy_conf(proxy),
            "mail_proxy_migration": migration,
            "mail_proxy_events": False,
            "result_backend": "cache+memory://",
            **(conf or {}),
        }
        app = stack.enter_context(default_app(**values))
        app.autodiscover_tasks(["celery_mailproxy.django"], force=True)
        one = Project(app)
        if values["mail_proxy_store"] == "memory://":
            get_runtime(app).store.clear()  # type: ignore[attr-defined]
        for signal in TELLING:
            signal.connect(one.note, sender=app, weak=False)
            stack.callback(signal.disconnect, one.note, sender=app)
        before_task_publish.connect(one.note_task, weak=False)
        stack.callback(before_task_publish.disconnect, one.note_task)
        return one

    with stack:
        yield make


def message(number: int = 1, **arguments: Any) -> EmailMessage:
    given = {"subject": f"Subject {number}", "body": "Body", "from_email": "Shop <from@example.com>"}
    return EmailMessage(**{**given, "to": [f"to{number}@example.com"], **arguments})


def test_it_is_found_where_the_setting_names_it() -> None:
    path = "celery_mailproxy.django.backends.MigrationEmailBackend"
    assert import_string(path) is MigrationEmailBackend
    assert issubclass(MigrationEmailBackend, EmailBackend)


def test_nothing_is_at_the_proxy_before_a_share_is_set(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink
) -> None:
    project = make_project()
    one = message()
    assert project.send(one) == 1
    assert mail_sink.mails == []
    (answer,) = project.work()
    assert answer[0] == "SUCCESS"
    (received,) = mail_sink.mails
    assert (received.mail_from, received.rcpt_to) == ("from@example.com", ("to1@example.com",))
    assert (proxy.received, project.published[0][2]) == ([], one.mail_proxy_id)  # type: ignore[attr-defined]
    names = [(name, via) for name, _, via in project.told]
    assert names == [("mail_queued", "legacy"), ("mail_sent", "legacy")]


def test_at_a_full_share_the_proxy_has_them_all(make_project: Any, proxy: FakeProxy, mail_sink: MailSink) -> None:
    project = make_project(share=1)
    mails = [message(number) for number in range(12)]
    assert project.send(*mails) == 12
    assert [len(task[1][0]) for task in project.published] == [10, 2]
    project.work()
    assert {each["id"] for each in proxy.received} == {each.mail_proxy_id for each in mails}  # type: ignore[attr-defined]
    assert mail_sink.mails == []


def test_a_share_is_divided_and_each_mail_goes_once(make_project: Any, proxy: FakeProxy, mail_sink: MailSink) -> None:
    project = make_project(share=0.5)
    project.send(*[message(number) for number in range(40)])
    project.work()
    # Given out twice: nothing is sent again.
    project.work()
    by_proxy = {each["to"][0] for each in proxy.received}
    by_smtp = [each.rcpt_to[0] for each in mail_sink.mails]
    assert len(proxy.received) + len(by_smtp) == 40
    assert len(by_proxy | set(by_smtp)) == 40
    assert 8 < len(by_smtp) < 32


def test_the_legacy_way_sends_the_same_mail(make_project: Any, mail_sink: MailSink) -> None:
    project = make_project()
    one = EmailMultiAlternatives(
        "Grüße", "Straße\n", "Jané <from@example.com>", ["Öl <to@example.com>"], bcc=["bcc@example.com"]
    )
    one.attach_alternative("<p>Straße</p>", "text/html")
    one.attach("a.pdf", b"%PDF-1.4\n\x00\xff", "application/pdf")
    project.send(one)
    project.work()
    (received,) = mail_sink.mails
    assert set(received.rcpt_to) == {"to@example.com", "bcc@example.com"}
    got = received.message
    assert (got["Subject"], got["From"], got["Bcc"]) == ("Grüße", "Jané <from@example.com>", None)
    assert got.get_body(("plain",)).get_content().strip() == "Straße"  # type: ignore[union-attr]
    assert got.get_body(("html",)).get_content().strip() == "<p>Straße</p>"  # type: ignore[union-attr]
    (attachment,) = got.iter_attachments()
    assert (attachment.get_filename(), attachment.get_content()) == ("a.pdf", b"%PDF-1.4\n\x00\xff")
    head = received.raw.split(b"\r\n\r\n")[0]
    assert head.isascii()


STAGING = {"mail_proxy_allowed_recipients": "@team.example", "mail_proxy_redirect_to": "qa@team.example"}


@pytest.mark.parametrize("share", [0, 1])
def test_a_staging_system_sends_to_nobody_outside_by_either_way(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink, share: int
) -> None:
    project = make_project(STAGING, share=share)
    project.send(message(to=["ann@team.example", "out@example.com"], cc=["cc@example.com"], bcc=["b@example.com"]))
    assert project.work()[0][0] == "SUCCESS"
    if share:
        (submitted,) = proxy.received
        got = {*submitted["to"], *submitted.get("cc", []), *submitted.get("bcc", [])}
    else:
        (received,) = mail_sink.mails
        got = set(received.rcpt_to)
    assert got == {"ann@team.example", "qa@team.example"}


def test_other_backends_are_given_nobody_outside(make_project: Any) -> None:
    project = make_project(STAGING, legacy="django.core.mail.backends.locmem.EmailBackend")
    project.send(message(to=["out@example.com"], cc=["ann@team.example"]))
    project.work()
    (sent,) = mail.outbox
    assert sorted(sent.recipients()) == ["ann@team.example", "qa@team.example"]
    assert (sent.to, sent.cc) == (["qa@team.example"], ["ann@team.example"])


def test_other_backends_find_the_parts_as_attributes(make_project: Any) -> None:
    project = make_project(legacy="django.core.mail.backends.locmem.EmailBackend")
    one = EmailMultiAlternatives("Subject", "Body\n", "from@example.com", ["to@example.com"], cc=["cc@example.com"])
    one.attach_alternative("<p>Body</p>", "text/html")
    project.send(one)
    project.work()
    (sent,) = mail.outbox
    assert (sent.subject, sent.body, sent.to, sent.cc) == ("Subject", "Body\n", ["to@example.com"], ["cc@example.com"])
    assert isinstance(sent, EmailMultiAlternatives)
    assert tuple(sent.alternatives[0])[1] == "text/html"


NEEDS_MAILERS = pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")


@pytest.fixture
def more_mailers(make_project: Any, settings: Any) -> None:
    """A second one that speaks SMTP, silently; and two that cannot be made."""
    silent = settings.MAILERS["before"]["OPTIONS"] | {"fail_silently": True}
    settings.MAILERS = settings.MAILERS | {
        "silent": settings.MAILERS["before"] | {"OPTIONS": silent},
        "hostless": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"},
        "mistaken": {**settings.MAILERS["memory"], "OPTIONS": {"nonsense": 1}},
    }


@NEEDS_MAILERS
@pytest.mark.usefixtures("more_mailers")
@pytest.mark.parametrize(
    ("legacy", "problem"),
    [
        ("before", ""),
        ("nowhere", "alias of one of MAILERS"),
        # Several have it.
        ("django.core.mail.backends.smtp.EmailBackend", "alias of one of MAILERS"),
        ("default", "again"),
        ("hostless", "must define 'host'"),
        ("mistaken", "'nonsense'"),
    ],
)
def test_with_mailers_the_legacy_way_is_one_of_them(
    make_project: Any, mail_sink: MailSink, legacy: str, problem: str
) -> None:
    project = make_project(legacy=legacy)
    project.send(message())
    state, result = project.work()[0]
    assert (state, len(mail_sink.mails)) == (("RETRY", 0) if problem else ("SUCCESS", 1))
    assert problem in str(result)


@NEEDS_MAILERS
def test_a_mailer_has_its_options_and_its_alias(make_project: Any) -> None:
    project = make_project(legacy="memory")
    project.send(message())
    project.work()
    assert [sent.sent_using for sent in mail.outbox] == ["memory"]  # type: ignore[union-attr]


@NEEDS_MAILERS
@pytest.mark.usefixtures("more_mailers")
def test_a_mailer_that_fails_in_silence_is_heard(make_project: Any, mail_sink: MailSink) -> None:
    project = make_project(legacy="silent")
    project.send(message())
    mail_sink.stop()
    assert project.work()[0][0] == "RETRY"
    assert [name for name, *_ in project.told] == ["mail_queued", "mail_deferred"]
    mail_sink.start()


@pytest.mark.skipif(django.VERSION >= (6, 1), reason="the tests' project has MAILERS there")
def test_a_backend_that_cannot_be_made_ends_no_mail(make_project: Any, mail_sink: MailSink, settings: Any) -> None:
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = True
    project = make_project()
    project.send(message())
    state, error = project.work()[0]
    assert (state, project.told) == ("RETRY", [])
    assert "raises ValueError" in str(error)
    settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
    assert project.work(retries=1)[0][0] == "SUCCESS"
    assert len(mail_sink.mails) == 1


def test_what_smtp_refuses_is_an_error_and_what_it_puts_off_is_tried_again(
    make_project: Any, mail_sink: MailSink
) -> None:
    project = make_project()
    mails = [message(1, to=["refused@example.com"]), message(2), message(3)]
    mail_sink.answer_next("to2@example.com", "451 4.3.0 try later")
    project.send(*mails)
    assert project.work()[0][0] == "RETRY"
    ids = [each.mail_proxy_id for each in mails]  # type: ignore[attr-defined]
    told = [(name, message_id) for name, message_id, _ in project.told if name != "mail_queued"]
    assert told == [("mail_error", ids[0]), ("mail_deferred", ids[1]), ("mail_sent", ids[2])]
    state, result = project.work(retries=1)[0]
    assert (state, result["legacy"], [each["id"] for each in result["failed"]]) == ("SUCCESS", 2, [ids[0]])
    assert project.told[-1] == ("mail_sent", ids[1], "legacy")
    assert len(mail_sink.mails) == 2


def test_without_an_smtp_server_the_chunk_waits(make_project: Any, mail_sink: MailSink) -> None:
    project = make_project()
    project.send(message(1), message(2))
    mail_sink.stop()
    assert project.work()[0][0] == "RETRY"
    assert [name for name, *_ in project.told] == ["mail_queued", "mail_deferred"]
    mail_sink.start()
    assert project.work(retries=1)[0][0] == "SUCCESS"
    assert len(mail_sink.mails) == 2


def test_a_proxy_that_is_down_is_gone_round(make_project: Any, proxy: FakeProxy, mail_sink: MailSink) -> None:
    project = make_project(share=1, fallback="unreachable")
    project.send(message(1), message(2))
    with proxy.down():
        assert project.work()[0][1]["legacy"] == 2
    project.work()
    assert (len(mail_sink.mails), proxy.received) == (2, [])


def test_where_both_are_down_all_have_chosen_their_way(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink
) -> None:
    project = make_project(share=1, fallback="unreachable")
    project.send(message(1), message(2), message(3))
    mail_sink.stop()
    with proxy.down():
        assert project.work()[0][0] == "RETRY"
    mail_sink.start()
    assert project.work(retries=1)[0][1]["legacy"] == 3
    assert (len(mail_sink.mails), proxy.received) == (3, [])


def test_after_a_lost_answer_no_mail_is_sent_by_smtp(make_project: Any, proxy: FakeProxy, mail_sink: MailSink) -> None:
    project = make_project(share=1, fallback="unreachable")
    project.send(message(1), message(2))
    proxy.lose_next_answer()
    assert project.work()[0][0] == "RETRY"
    with proxy.down():
        assert project.work(retries=1)[0][0] == "RETRY"
    # The first call may find a connection that was closed behind its back.
    assert "SUCCESS" in (project.work(retries=retries)[0][0] for retries in (2, 3, 4))
    assert (len(mail_sink.mails), len(proxy.received)) == (0, 2)


@pytest.mark.parametrize("share", [0, 1])
def test_a_large_mail_is_kept_in_the_storage_for_both_ways(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink, settings: Any, tmp_path: Any, share: int
) -> None:
    options = {"location": str(tmp_path)}
    storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "mail_proxy": storage}
    project = make_project(share=share, conf={"mail_proxy_attachment_inline_bytes": 1000})
    project.send(message(body="Long\n" * 1000))
    ((_, (messages,), _),) = project.published
    assert "raw" not in messages[0]
    assert project.work()[0][0] == "SUCCESS"
    assert (len(proxy.received), len(mail_sink.mails)) == ((1, 0) if share else (0, 1))


@pytest.mark.parametrize(
    "legacy", ["celery_mailproxy.django.backends.EmailBackend", "djcelery_email.backends.CeleryEmailBackend"]
)
def test_a_backend_that_leads_back_is_refused(make_project: Any, legacy: str) -> None:
    project = make_project(legacy=legacy)
    project.send(message())
    state, error = project.work()[0]
    assert state == "RETRY"
    assert "must name an e-mail backend that sends by itself" in str(error)
    assert project.told == []


def test_what_cannot_be_sent_fails_in_the_caller(make_project: Any) -> None:
    project = make_project()
    with pytest.raises(InvalidMessage, match="to"):
        project.send(message(to=["nobody at all"]))
    assert project.published == []


def test_nothing_of_a_mail_is_in_the_tasks_headers(make_project: Any) -> None:
    shown: list[Any] = []

    def note(headers: Any, **kwargs: Any) -> None:
        shown.append((headers["argsrepr"], headers["kwargsrepr"]))

    project = make_project()
    before_task_publish.connect(note)
    project.send(message())
    before_task_publish.disconnect(note)
    assert shown == [("(…)", "{…}")]


def test_a_chunk_that_is_revoked_ends_what_has_not_been_sent(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink
) -> None:
    project = make_project()
    mails = [message(1), message(2)]
    mail_sink.answer_next("to2@example.com", "451 4.3.0 try later")
    project.send(*mails)
    project.work()
    project.revoke()
    ids = [each.mail_proxy_id for each in mails]  # type: ignore[attr-defined]
    assert [told for told in project.told if told[0] == "mail_error"] == [("mail_error", ids[1], "legacy")]
    known = get_runtime(project.app).store.get(ids[1])
    assert known is not None
    assert known.reason == "the task was revoked before the email was sent"


@pytest.mark.django_db(transaction=True)
def test_a_logged_mail_that_nobody_began_to_send_ends_too(make_project: Any, mail_sink: MailSink) -> None:
    from celery_mailproxy.django.models import EmailLog

    project = make_project(conf={"mail_proxy_store": "django://"})
    project.send(message())
    project.revoke(retries=0, expired=True)
    log = EmailLog.objects.get()
    assert (log.status, log.error_message) == ("error", "the task expired before the email was sent")


@pytest.mark.django_db(transaction=True)
def test_a_logged_mail_goes_round_a_proxy_that_is_down(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink
) -> None:
    project = make_project(share=1, fallback="unreachable", conf={"mail_proxy_store": "django://"})
    project.send(message())
    with proxy.down():
        assert project.work()[0][1]["legacy"] == 1
    assert project.work()[0][1]["legacy"] == 1
    assert (len(mail_sink.mails), proxy.received) == (1, [])


@pytest.mark.django_db(transaction=True)
def test_the_log_knows_the_mails_of_both_ways(make_project: Any) -> None:
    from celery_mailproxy.django.models import EmailLog

    project = make_project(conf={"mail_proxy_store": "django://"})
    project.send(message())
    log = EmailLog.objects.get()
    assert (log.status, log.recipients) == ("new", "to1@example.com")
    assert project.work()[0][0] == "SUCCESS"
    log.refresh_from_db()
    assert (log.status, log.recipients, log.server) == ("sent", "to1@example.com", "legacy")
    assert {event.via for event in log.events.all()} == {"legacy"}


class SilentBackend(BaseEmailBackend):
    """Fails, and says so by its number only."""

    def send_messages(self, email_messages: Any) -> int:
        return 0


def test_a_backend_that_sends_nothing_and_says_nothing_is_heard(make_project: Any, settings: Any) -> None:
    legacy = f"{__name__}.SilentBackend"
    project = make_project(legacy=legacy)
    if django.VERSION >= (6, 1):
        settings.MAILERS = settings.MAILERS | {"quiet": {"BACKEND": legacy}}
    project.send(message())
    assert project.work()[0][0] == "RETRY"
    assert [name for name, *_ in project.told] == ["mail_queued", "mail_deferred"]


@pytest.mark.parametrize("share", [0, 1])
@pytest.mark.parametrize("place", ["building", "sending"])
def test_one_mail_that_meets_an_unforeseen_error_takes_no_other_down(
    make_project: Any, proxy: FakeProxy, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, share: int, place: str
) -> None:
    project = make_project(share=share)
    mails = [message(number) for number in range(4)]
    project.send(*mails)
    bad = mails[2].mail_proxy_id  # type: ignore[attr-defined]
    if place == "building":
        break_building(monkeypatch, bad)
    elif share:
        break_encoding(monkeypatch, bad)
    else:
        break_beginning(monkeypatch, bad)
    ((state, error),) = project.work()
    assert (state, type(error)) == ("RETRY", UnforeseenError)
    good = {each.mail_proxy_id for each in mails} - {bad}  # type: ignore[attr-defined]

    def sent() -> int:
        return len(proxy.received) + len(mail_sink.mails)

    assert sent() == 3
    ((state, result),) = project.work(retries=300)
    assert state == "SUCCESS"
    assert [each["id"] for each in result["failed"]] == [bad]
    assert sent() == 3
    assert [name for name, message_id, _ in project.told if message_id == bad] == ["mail_error"]
    assert {message_id for name, message_id, _ in project.told if name == "mail_queued"} == good


def break_building(monkeypatch: pytest.MonkeyPatch, message_id: str) -> None:

    def built(*args: Any, **kwargs: Any) -> Any:
        if kwargs["message_id"] == message_id:
            raise RuntimeError("nobody foresaw this")
        return one_outgoing(*args, **kwargs)

    monkeypatch.setattr(migrating_task, "one_outgoing", built)


def break_encoding(monkeypatch: pytest.MonkeyPatch, message_id: str) -> None:

    def encoded(message: Any) -> Any:
        if message.message_id == message_id:
            raise RuntimeError("nobody foresaw this")
        return encode(message)

    monkeypatch.setattr(handover, "encode", encoded)


def break_beginning(monkeypatch: pytest.MonkeyPatch, message_id: str) -> None:
    begin = LegacyMail.begin

    def begun(mail: LegacyMail) -> Any:
        if mail.message_id == message_id:
            raise RuntimeError("nobody foresaw this")
        return begin(mail)

    monkeypatch.setattr(LegacyMail, "begin", begun)


def test_an_unforeseen_error_of_the_whole_run_ends_each_mail_in_the_end(
    make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    project = make_project(share=1)
    mails = [message(number) for number in range(2)]
    project.send(*mails)
    monkeypatch.setattr(MigrationRun, "paths", fail)
    assert [state for state, _ in project.work()] == ["RETRY"]
    ((state, error),) = project.work(retries=300)
    assert (state, type(error)) == ("FAILURE", UnforeseenError)
    assert {(name, each) for name, each, _ in project.told} == {
        ("mail_error", each.mail_proxy_id)  # type: ignore[attr-defined]
        for each in mails
    }
