"""The drain: every shape in which django-celery-email leaves mail on a broker, up to the proxy."""

from __future__ import annotations

import base64
import json
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from typing import Any

import django
import pytest
from celery import Celery
from celery.app import trace
from celery.app.trace import build_tracer
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.translation import gettext_lazy
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from celery_mailproxy.django.drain import draining
from celery_mailproxy.django.drain.models import DeadLetter
from celery_mailproxy.django.drain.queued import unpack
from celery_mailproxy.django.drain.reading import read
from celery_mailproxy.django.drain.tasks import send_dead_letter, send_multiple
from celery_mailproxy.django.models import EmailLog
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending import handover
from celery_mailproxy.testing import FakeProxy
from tests.django.harness.default_app import default_app
from tests.django.harness.publishing_app import Published, published
from tests.harness.proxy_conf import proxy_conf
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.django_db

TASK = "djcelery_email_send_multiple"
TASK_ID = "5b1f9c1e-0000-4000-8000-000000000001"
PNG = b"\x89PNG\r\n\x1a\n\xff"
LOGIN = {"username": "smtp-user", "password": "s3cret", "fail_silently": True}


def queued(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A mail as both packages queue it."""
    return {
        "subject": f"Subject {number}",
        "body": "Body",
        "from_email": "from@example.com",
        "to": [f"to{number}@example.com"],
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "headers": {},
        "attachments": [],
        **fields,
    }


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def settings_of(proxy: FakeProxy) -> dict[str, Any]:
    return {
        **proxy_conf(proxy),
        "mail_proxy_store": f"memory://{proxy.token}",
        "mail_proxy_timeout_seconds": 60,
    }


@pytest.fixture
def app(proxy: FakeProxy) -> Iterator[Celery]:
    with default_app(**settings_of(proxy)) as app:
        yield app


def drain(app: Celery, *args: Any, task_id: str = TASK_ID, **kwargs: Any) -> int:
    """What a worker makes of a task with these arguments."""
    return app.tasks[TASK].apply(args, kwargs, task_id=task_id, throw=True).get()


def run(app: Celery, args: Any, kwargs: Any, *, retries: int = 0) -> None:
    """The same in a worker that publishes what it tries again."""
    task = app.tasks[TASK]
    request = {"id": TASK_ID, "retries": retries, "delivery_info": {"exchange": "", "routing_key": "mails"}}
    build_tracer(TASK, task, app=app)(TASK_ID, list(args), kwargs, request=request)


def delivered(proxy: FakeProxy, number: int) -> list[dict[str, Any]]:
    """What has been delivered once it is so many: the proxy does that a moment after its answer."""
    wait_until(lambda: len(proxy.delivered) >= number, lambda: f"{number} mails, of {proxy.received}")
    return proxy.delivered


def letters() -> list[DeadLetter]:
    return list(DeadLetter.objects.order_by("pk"))


def mime_of(message: dict[str, Any]) -> Message:
    """A submitted mail as the proxy would send it, as far as its headers and its body tell."""
    headers = "".join(f"{name}: {value}\n" for name, value in message["headers"].items())
    return message_from_bytes(f"{headers}\n{message['body']}".encode())


def test_queued_mails_are_submitted(app: Celery, proxy: FakeProxy) -> None:
    assert drain(app, [queued(1), queued(2, cc=["cc@example.com"], bcc=["bcc@example.com"])], LOGIN) == 2
    first, second = proxy.received
    assert (first["subject"], first["to"]) == ("Subject 1", ["to1@example.com"])
    assert (second["cc"], second["bcc"]) == (["cc@example.com"], ["bcc@example.com"])
    assert letters() == []


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([[queued()], {}], {}),
        ([[queued()], {"username": None, "password": None}], {}),
        ([[queued()], None], {}),
        ([[queued()]], {}),
        ([queued()], {}),
        ([queued(), {}], {"using": "smtp"}),
        ([[queued()], {}], {"using": "smtp", "host": "smtp.example.com"}),
        ([[queued()]], {"backend_kwargs": {"password": "s3cret"}}),
        ([], {"messages": [queued()], "backend_kwargs": {}}),
        ([], {"messages": queued(), "self": 1, "task": 2, "args": 3}),
        ([[queued()], {}, "more"], {}),
    ],
)
def test_every_shape_of_arguments_is_taken(
    app: Celery, proxy: FakeProxy, args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert app.tasks[TASK].apply(args, kwargs, task_id=TASK_ID, throw=True).get() == 1
    assert [mail["subject"] for mail in proxy.received] == ["Subject 1"]


def test_no_argument_is_taken_for_one_of_celerys_in_a_worker(app: Celery, proxy: FakeProxy) -> None:
    trace.setup_worker_optimizations(app)
    try:
        request = {"id": TASK_ID, "called_directly": False, "is_eager": False, "delivery_info": {}}
        traced = trace.build_tracer(TASK, app.tasks[TASK], app=app)(TASK_ID, [[queued()]], {"self": 1}, request=request)
    finally:
        trace.reset_worker_optimizations(app)
    assert traced.info is None
    assert [mail["subject"] for mail in proxy.received] == ["Subject 1"]


def test_id_is_the_tasks_and_a_digest_of_the_mail(app: Celery, proxy: FakeProxy) -> None:
    drain(app, [queued(1), queued(2)], {})
    # Tried again each by itself, with the task's id and the keys in another order.
    for mail in (queued(2), dict(reversed(queued(1).items()))):
        drain(app, [mail], LOGIN)
    ids = [mail["id"] for mail in proxy.received]
    assert len(ids) == len(set(ids)) == 2
    assert all(each.startswith(f"{TASK_ID}-") for each in ids)
    drain(app, [queued(1)], {}, task_id="another")
    assert len(proxy.received) == 3


def test_a_mail_that_is_there_twice_is_sent_twice(app: Celery, proxy: FakeProxy) -> None:
    for _ in range(2):
        assert drain(app, [queued(1), queued(1)], {}) == 2
    assert [mail["subject"] for mail in proxy.received] == ["Subject 1"] * 2


def test_everything_of_a_mail_goes_along(app: Celery, proxy: FakeProxy) -> None:
    fields = {
        "alternatives": [["<p>Grüße</p>", "text/html"]],
        "headers": {"X-Shop": "7"},
        "reply_to": ["reply@example.com"],
        "attachments": [
            ["logo.png", encoded(PNG), "image/png"],
            ["notes.txt", encoded("Grüße".encode()), "text/plain"],
            [None, encoded(b"bytes"), None],
        ],
    }
    assert drain(app, [queued(1, **fields)]) == 1
    (mail,) = proxy.received
    assert mail["headers"]["X-Shop"] == "7"
    assert mail["reply_to"] == "reply@example.com"
    built = mime_of(mail)
    parts = [part.get_content_type() for part in built.walk()]
    assert parts == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/png",
        "text/plain",
        "application/octet-stream",
    ]
    contents: list[Any] = [part.get_payload(decode=True) for part in built.walk() if not part.is_multipart()]
    # Django 6 ends a text's last line, attached ones too.
    assert [contents[2], contents[3].rstrip(b"\n"), contents[4]] == [PNG, "Grüße".encode(), b"bytes"]


def test_whole_mime_part_keeps_its_headers() -> None:
    part = b"Content-Type: image/png\nContent-ID: <logo>\nContent-Transfer-Encoding: base64\n\n" + base64.b64encode(PNG)
    built = read(queued(attachments=[{"mime": encoded(part)}])).message()
    (attached,) = [each for each in built.walk() if each.get_content_type() == "image/png"]
    assert attached["Content-ID"] == "<logo>"
    assert attached.get_payload(decode=True) == PNG
    assert len(attached.get_all("Content-Type", [])) == 1


def test_subtypes_are_kept() -> None:
    html = read(queued(content_subtype="html", body="<p>Hello</p>")).message()
    assert html.get_content_type() == "text/html"
    related = read(queued(mixed_subtype="related", attachments=[["a.png", encoded(PNG), "image/png"]])).message()
    assert related.get_content_type() == "multipart/related"
    assert message_from_bytes(related.as_bytes()).is_multipart()


def test_extra_attributes_are_set_and_shadow_nothing(settings: Any) -> None:
    settings.CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES = ["tags"]
    message: Any = read(queued(tags=["news"], message="no", recipients="no", connection="no", encoding="latin-1"))
    assert message.tags == ["news"]
    assert message.recipients() == ["to1@example.com"]
    assert message.encoding == "latin-1"
    assert message.message()["Subject"] == "Subject 1"


class ShopMessage(EmailMessage):
    def message(self, *args: Any, **kwargs: Any) -> Any:
        built = super().message(*args, **kwargs)
        built["X-Tags"] = " ".join(self.tags)  # type: ignore[attr-defined]
        return built


def test_projects_own_message_class_builds_the_mail(app: Celery, proxy: FakeProxy, settings: Any) -> None:
    settings.CELERY_EMAIL_MESSAGE_CLASS = f"{__name__}.ShopMessage"
    assert drain(app, [queued(tags=["a", "b"])]) == 1
    assert proxy.received[0]["headers"]["X-Tags"] == "a b"


def test_own_options_of_a_mail_count(app: Celery, proxy: FakeProxy, settings: Any) -> None:
    settings.CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES = ["mail_proxy", "batch_code"]
    assert drain(app, [queued(mail_proxy={"priority": "high"}, batch_code="may")]) == 1
    assert (proxy.received[0]["priority"], proxy.received[0]["batch_code"]) == (1, "may")


def test_options_of_our_mailer_count(app: Celery, proxy: FakeProxy, settings: Any) -> None:
    if django.VERSION < (6, 1):
        # One mailer, without options.
        settings.EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"
        assert drain(app, [queued()], using="smtp") == 1
        assert proxy.received[0]["priority"] == 2
        return
    backend = "celery_mailproxy.django.backends.EmailBackend"
    settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": {"priority": "low"}}}
    assert drain(app, [queued()], using="smtp") == 1
    assert proxy.received[0]["priority"] == 3


def test_pickled_messages_are_taken(app: Celery, proxy: FakeProxy) -> None:
    message = EmailMultiAlternatives("Subject", gettext_lazy("Body"), "from@example.com", ["to@example.com"])
    message.attach_alternative("<p>Body</p>", "text/html")
    message.attach("a.txt", "text", "text/plain")
    message.extra_headers["X-Shop"] = "7"
    pickled = pickle.loads(pickle.dumps(message))
    assert drain(app, [pickled], {}) == 1
    assert drain(app, pickled, {}, task_id="another") == 1
    # As the old worker queues it again: a dict now, with the same id.
    as_dict = queued(
        subject="Subject",
        to=["to@example.com"],
        headers={"X-Shop": "7"},
        alternatives=[["<p>Body</p>", "text/html"]],
        attachments=[["a.txt", encoded(b"text"), "text/plain"]],
    )
    assert drain(app, [as_dict], {}) == 1
    assert len(proxy.received) == 2
    assert "multipart/alternative" in proxy.received[0]["body"]


@pytest.mark.parametrize(
    "unreadable",
    [
        None,
        7,
        "text",
        [],
        ["nested"],
        {},
        {"subject": "to nobody"},
        queued(to="no-list@example.com"),
        queued(attachments=[["a.txt", "no base64!", "text/plain"]]),
        queued(attachments=[["a.txt"]]),
        queued(attachments=[7]),
        queued(attachments=7),
        queued(attachments=[{"mime": 7}]),
        queued(alternatives=7),
        queued(alternatives=[7]),
        queued(headers=7),
        queued(subject="two\nlines"),
        queued(to=["not an address"]),
        queued(from_email="nobody at all@@"),
        queued(mail_proxy={"unknown": 1}),
        {"to": {"a": 1}},
    ],
)
def test_unreadable_mail_is_kept_and_its_neighbours_go_on(app: Celery, proxy: FakeProxy, unreadable: Any) -> None:
    assert drain(app, [queued(1), unreadable, queued(2)], LOGIN) == 2
    assert [mail["subject"] for mail in proxy.received] == ["Subject 1", "Subject 2"]
    (letter,) = letters()
    assert json.loads(letter.content) == unreadable
    assert letter.reason
    assert letter.message_id.startswith(f"{TASK_ID}-")
    # Given out once more, it is the same letter.
    drain(app, [queued(1), unreadable, queued(2)], LOGIN)
    assert len(letters()) == 1


def test_task_without_mails_is_kept(app: Celery) -> None:
    for args in ((), (None,), (7,)):
        assert drain(app, *args) == 0
    assert [json.loads(letter.content) for letter in letters()] == [None, 7]
    # None at all is nothing to be kept.
    assert drain(app, [], {}, task_id="another") == 0
    assert len(letters()) == 2


def test_mail_to_nobody_is_passed_over(app: Celery, proxy: FakeProxy) -> None:
    assert drain(app, [queued(to=[]), queued(2)]) == 1
    assert len(proxy.received) == 1
    assert letters() == []


def test_login_is_neither_stored_nor_logged_nor_published(
    proxy: FakeProxy, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, logger="celery.utils.functional")
    broken = {"subject": "to nobody", **LOGIN, "nested": {"password": "s3cret", "auth_password": "s3cret"}}
    with published(**settings_of(proxy)) as tasks, proxy.down():
        run(app_of(tasks), [[queued(), broken], LOGIN], {"password": "s3cret"})
    (letter,) = letters()
    (again,) = tasks
    assert "s3cret" not in letter.content + letter.reason
    assert "s3cret" not in repr(again)
    assert "to1@example.com" not in json.dumps(again.headers, default=str)
    shown = "\n".join([*(str(vars(record)) for record in caplog.records), *capsys.readouterr()])
    assert "s3cret" not in shown
    assert "@example.com" not in "\n".join(record.getMessage() for record in caplog.records)


def app_of(tasks: list[Published]) -> Celery:
    from celery import current_app

    return current_app._get_current_object()


@contextmanager
def unreachable(proxy: FakeProxy) -> Iterator[list[Published]]:
    with published(**settings_of(proxy)) as tasks, proxy.down():
        yield tasks


def test_unreachable_proxy_is_tried_again_with_the_same_task(proxy: FakeProxy) -> None:
    mails = [queued(1), queued(2)]
    with unreachable(proxy) as tasks:
        run(app_of(tasks), [mails, LOGIN], {"using": "smtp", "host": "smtp.example.com"}, retries=1)
        (again,) = tasks
        assert (again.name, again.task_id, again.routing_key) == (TASK, TASK_ID, "mails")
        assert (list(again.args), again.kwargs) == ([mails, {}], {"using": "smtp"})
        assert again.headers["retries"] == 2
        assert letters() == []


def test_only_what_the_proxy_may_not_have_is_tried_again(proxy: FakeProxy) -> None:
    with published(**settings_of(proxy), mail_proxy_chunk_size=1) as tasks:
        app = app_of(tasks)
        drain(app, [queued(1)])
        proxy.fail_next(2)
        run(app, [[queued(1), queued(2), queued(2), queued(3)], {}], {})
        (again,) = tasks
        assert list(again.args) == [[queued(2), queued(2)], {}]
        # The proxy closes the connection of its error, at its own time: the next call may find it so.
        for retries, each in enumerate(tasks, start=1):
            run(app, each.args, each.kwargs, retries=retries)
    assert sorted(mail["subject"] for mail in delivered(proxy, 4)) == [f"Subject {n}" for n in (1, 2, 2, 3)]


def test_mails_that_are_given_up_become_letters(proxy: FakeProxy) -> None:
    with unreachable(proxy) as tasks:
        app = app_of(tasks)
        app.conf.mail_proxy_max_retries = 3
        run(app, [[queued(1)], LOGIN], {}, retries=3)
        assert tasks == []
    (letter,) = letters()
    assert "given up" in letter.reason
    with default_app(**settings_of(proxy)) as app:
        assert app.tasks[send_dead_letter.name].apply((letter.pk,), throw=True).get() is True
    assert [mail["id"] for mail in proxy.received] == [f"{letter.message_id}-again-1"]
    assert letters() == []


def test_what_the_proxy_refuses_becomes_a_letter(app: Celery, proxy: FakeProxy) -> None:
    proxy.fail_next(status=413)
    assert drain(app, [queued(1)], {}) == 0
    (letter,) = letters()
    assert "413" in letter.reason
    again = app.tasks[send_dead_letter.name]
    proxy.fail_next(status=413)
    assert again.apply((letter.pk,), throw=True).get() is False
    letter.refresh_from_db()
    assert letter.next_id == f"{letter.message_id}-again-2"
    assert again.apply((letter.pk,), throw=True).get() is True
    assert letters() == []
    # Whoever tries twice finds it done.
    assert again.apply((letter.pk,), throw=True).get() is False
    assert len(delivered(proxy, 1)) == 1


def test_a_wrong_token_makes_them_wait(proxy: FakeProxy) -> None:
    proxy.fail_next(status=401)
    with published(**settings_of(proxy)) as tasks:
        run(app_of(tasks), [[queued(1)], {}], {}, retries=1000)
    assert [again.task_id for again in tasks] == [TASK_ID]
    assert letters() == []


def test_an_unforeseen_error_is_tried_again_and_leaves_letters_in_the_end(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("nobody foresaw this")

    args = [[queued(1), queued(2)], {}]
    with published(**settings_of(proxy)) as tasks:
        with monkeypatch.context() as patch:
            patch.setattr(draining, "_defaults", fail)
            run(app_of(tasks), args, {}, retries=299)
            assert [again.task_id for again in tasks] == [TASK_ID]
            assert letters() == []
            run(app_of(tasks), args, {}, retries=300)
            first, second = letters()
        assert "unexpected RuntimeError" in first.reason
        assert {first.message_id, second.message_id} == {f"{TASK_ID}-{digest}" for digest in digests(args)}
        again = app_of(tasks).tasks[send_dead_letter.name]
        assert again.apply((second.pk,), throw=True).get() is True
    assert letters() == [first]


def test_one_mail_that_meets_an_unforeseen_error_takes_no_other_down(
    proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(message: Any) -> Any:
        if message.subject == "Subject 2":
            raise RuntimeError("nobody foresaw this")
        return encode(message)

    monkeypatch.setattr(handover, "encode", fail)
    args = [[queued(1), queued(2), queued(3)], {}]
    with published(**settings_of(proxy)) as tasks:
        run(app_of(tasks), args, {}, retries=0)
        assert [again.task_id for again in tasks] == [TASK_ID]
        assert sorted(mail["subject"] for mail in proxy.received) == ["Subject 1", "Subject 3"]
        run(app_of(tasks), args, {}, retries=300)
    (letter,) = letters()
    assert (letter.ended, "unexpected RuntimeError" in letter.reason) == (1, True)
    assert len(proxy.received) == 2


def digests(args: Any) -> list[str]:
    return [mail.message_id.removeprefix("x-") for mail in unpack(args, {}, task_id="x").mails]


def test_letter_that_can_be_read_after_all_is_sent(app: Celery, proxy: FakeProxy, settings: Any) -> None:
    # A class that is there again after the next release, say.
    settings.CELERY_EMAIL_MESSAGE_CLASS = f"{__name__}.ShopMessage"
    assert drain(app, [queued(1)], {}) == 0
    (letter,) = letters()
    again = app.tasks[send_dead_letter.name]
    assert again.apply((letter.pk,), throw=True).get() is False
    del settings.CELERY_EMAIL_MESSAGE_CLASS
    assert again.apply((letter.pk,), throw=True).get() is True
    assert [mail["id"] for mail in proxy.received] == [letter.message_id]
    assert letters() == []


def test_class_that_cannot_be_imported_holds_the_mail_up(proxy: FakeProxy, settings: Any) -> None:
    settings.CELERY_EMAIL_MESSAGE_CLASS = "gone.Message"
    with published(**settings_of(proxy)) as tasks:
        run(app_of(tasks), [[queued(1)], {}], {})
    assert [again.task_id for again in tasks] == [TASK_ID]
    assert letters() == []


def test_drained_mails_are_in_the_log(proxy: FakeProxy) -> None:
    conf = {**settings_of(proxy), "mail_proxy_store": "django://", "mail_proxy_attachment_inline_bytes": 10}
    with default_app(**conf) as app:
        drain(app, [queued(1)], {})
    (log,) = EmailLog.objects.all()
    assert (log.subject, log.recipient_list, log.task_id) == ("Subject 1", ["to1@example.com"], TASK_ID)
    assert log.content_name == ""
    assert log.status == "queued"


def test_task_has_the_name_that_the_project_gave_it() -> None:
    assert send_multiple.name == TASK
    assert send_multiple.acks_late
    assert send_multiple.reject_on_worker_lost
    # Whoever still publishes with the old package may be given any arguments.
    assert not send_multiple.typing


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
MESSAGES = st.one_of(
    JSON,
    st.builds(queued, st.integers(0, 3)),
    st.fixed_dictionaries(
        {},
        optional={
            name: JSON | st.just(value) | st.lists(st.sampled_from(["a@example.com", "", "b"]), max_size=2)
            for name, value in queued(
                alternatives=[["<p>", "text/html"]],
                attachments=[["a.txt", encoded(b"text"), "text/plain"]],
                content_subtype="html",
                mixed_subtype="related",
            ).items()
        },
    ),
)
ARGUMENTS = st.one_of(
    st.tuples(st.lists(MESSAGES, max_size=4), JSON), st.tuples(MESSAGES), st.lists(JSON, max_size=3).map(tuple)
)


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(args=ARGUMENTS, kwargs=st.dictionaries(st.sampled_from(["messages", "using", "self", "x"]), JSON, max_size=2))
def test_no_arguments_raise_and_no_mail_is_lost(
    app: Celery, proxy: FakeProxy, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    DeadLetter.objects.all().delete()
    before = len(proxy.received)
    task_id = f"task-{before}-{hash(json.dumps([args, kwargs]))}"
    drained = app.tasks[TASK].apply(args, kwargs, task_id=task_id, throw=True).get()
    mails = unpack(args, kwargs, task_id=task_id).mails
    kept = {letter.message_id for letter in letters()}
    arrived = {mail["id"] for mail in proxy.received[before:]}
    store = get_runtime(app).store
    nobody = {mail.message_id for mail in mails if is_to_nobody(mail.content)}
    assert drained == len(arrived - kept)
    assert {mail.message_id for mail in mails} == kept | arrived | nobody
    assert all(store.get(each) is not None for each in arrived)


def is_to_nobody(content: Any) -> bool:
    """Whether it is a mail without recipients: there is nothing to lose."""
    names = ("to", "cc", "bcc")
    return (
        isinstance(content, dict)
        and any(name in content for name in names)
        and not any(any(content.get(name) or ()) for name in names if isinstance(content.get(name), list))
    )


@given(content=JSON, task_id=st.text(min_size=1))
def test_id_does_not_change_on_the_way_through_a_broker(content: Any, task_id: str) -> None:
    (mail,) = unpack([[content]], {}, task_id=task_id).mails
    args, kwargs = unpack([[content]], {}, task_id=task_id).arguments(frozenset([mail.message_id]))
    (again,) = unpack(json.loads(json.dumps(args)), kwargs, task_id=task_id).mails
    assert again.message_id == mail.message_id
