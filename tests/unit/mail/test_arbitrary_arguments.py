"""Whatever a caller gives: a mail, or an error of ours that names the argument."""

from __future__ import annotations

import decimal
import io
import uuid
from collections import UserString
from datetime import date, datetime, timedelta, timezone
from email.header import Header
from email.headerregistry import Address, Group
from email.message import EmailMessage, Message
from email.mime.text import MIMEText
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from celery import Celery
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from celery_mailproxy import send_via_proxy
from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import ARGUMENTS
from celery_mailproxy.mail.attachment import Attachment
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending.arguments import dump_arguments, one_outgoing
from tests.harness.broken_headers import CONTENT_HEADERS, DATES, IDS, NAMES

CALLBACKS = ("on_sent", "on_error", "on_deferred", "on_bounced")

PIECES = st.sampled_from(
    [
        "a",
        "é",
        "😀",
        " ",
        "\t",
        "\r\n",
        "\x00",
        "\x85",
        "\u2028",
        "�",
        "�",
        "x" * 90,
        "<",
        ">",
        "@",
        ",",
        ";",
        ":",
        '"',
        "(",
        ")",
        "[",
        "]",
        "\\",
        ".",
        "..",
        "=?",
        "?=",
        "=?utf-7?q?+2AA-?=",
        "=?unicode_escape?q?=5Cud800?=",
        "=?idna?q?=ff?=",
        "=?punycode?b?/w==?=",
        "=?x\x00?q?a?=",
        "=?utf-8?b?",
        "xn--",
        "example.com",
        "//[",
        "data:",
        "%",
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=6).map("".join), st.text(max_size=20))
ADDRESSES = st.one_of(
    TEXTS,
    NAMES.map(lambda name: f"{name} <b@example.com>"),
    TEXTS.map(lambda text: f"{text}@example.com"),
    TEXTS.map(lambda text: f"a@{text}"),
    st.sampled_from(["a@i❤.ws", '"john..doe"@example.com', "a@[1.2.3.4]", "a@[]", "g: a@x.org;", "a@x.org (Ann)"]),
)


def _message(kind: type[Message], text: str) -> Message:
    message = kind()
    message.add_header("X-Text", "x")
    message.set_payload(text)
    return message


ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, 1_795_324_468_000, -1, 2**63, 5]),
    st.floats(),
    st.binary(max_size=20),
    TEXTS,
    st.sampled_from(
        [
            decimal.Decimal("1.5"),
            uuid.uuid4(),
            Path("/x/a.pdf"),
            PurePosixPath("a"),
            date(2030, 1, 1),
            datetime(2030, 1, 1),  # noqa: DTZ001
            datetime.max.replace(tzinfo=timezone(-timedelta(hours=23))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=23))),
            Header("é", "utf-8"),
            UserString("text"),
            Address("Ann", "a", "example.com"),
            Group("g", (Address("", "a", "example.com"),)),
            EmailMessage(),
            MIMEText("é", "plain", "utf-8"),
            io.BytesIO(b"x"),
            object(),
            range(3),
            len,
            str,
            memoryview(b"x"),
            bytearray(b"x"),
        ]
    ),
    TEXTS.map(lambda text: _message(EmailMessage, text)),
    TEXTS.map(lambda text: _message(Message, text)),
)
NESTED = st.recursive(
    ODD,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(TEXTS, st.integers(), st.none()), inner, max_size=3),
    ),
    max_leaves=5,
)
SETS = st.sets(st.one_of(ADDRESSES, st.integers(), st.none()), max_size=3)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "filename",
            "content",
            "mime_type",
            "content_id",
            "disposition",
            "headers",
            "is_part",
            "fetch_mode",
            "storage_path",
            "auth",
            "contents",
        ]
    ),
    st.one_of(NESTED, st.sampled_from(["eA==", "http_url", "filesystem", "inline", "message/rfc822", "a.eml"])),
    max_size=5,
)
FILES = st.one_of(FIELDS, st.tuples(NESTED, NESTED, NESTED), st.tuples(TEXTS, st.one_of(st.binary(), TEXTS)), NESTED)
RAW = st.one_of(
    NESTED,
    st.tuples(ADDRESSES, IDS, DATES, CONTENT_HEADERS, TEXTS).map(
        lambda drawn: "From: a@example.com\nTo: {}\nMessage-ID: {}\nDate: {}\nContent-Type: {}\n\n{}\n".format(*drawn)
    ),
    st.tuples(CONTENT_HEADERS, st.binary(max_size=40)).map(
        lambda drawn: f"From: a@example.com\nContent-Type: {drawn[0]}\n\n".encode("utf-8", "surrogatepass") + drawn[1]
    ),
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("to", "cc", "bcc", "reply_to"), st.one_of(ADDRESSES, st.lists(ADDRESSES, max_size=3), SETS)),
    **dict.fromkeys(("from_email", "return_path"), ADDRESSES),
    "headers": st.dictionaries(
        st.one_of(st.sampled_from(["X-A", "Message-ID", "Date", "Sender", "To", "From", "References"]), TEXTS),
        st.one_of(TEXTS, IDS, DATES, ADDRESSES, NESTED),
        max_size=2,
    ),
    "attachments": st.lists(FILES, max_size=2),
    "tags": st.one_of(SETS, NESTED),
    "raw": RAW,
}


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of which most are right, so that the wrong ones are reached."""
    names = draw(st.lists(st.sampled_from(sorted({*ARGUMENTS, *CALLBACKS})), min_size=1, max_size=3, unique=True))
    given = {name: draw(st.one_of(LIKELY.get(name, NESTED), NESTED)) for name in names}
    return {"from_email": "a@example.com", "to": ["b@example.com"], **given}


def send(arguments: dict[str, Any], app: Celery) -> None:
    """What `.delay()` does, up to the publication, and the encoding."""
    plain = dump_arguments(arguments)
    outgoing = one_outgoing((), plain, settings=get_runtime(app).settings, message_id="m1")
    encode(outgoing.message)


@pytest.fixture(scope="module")
def app() -> Celery:
    app = Celery("fuzzed", set_as_current=False)
    app.conf.update(mail_proxy_url="http://127.0.0.1:1", mail_proxy_tenant="t", mail_proxy_account="a")
    app.conf.mail_proxy_store = "memory://"
    return app


def check(app: Celery, arguments: dict[str, Any]) -> None:
    try:
        send(arguments, app)
    except InvalidMessage as exc:
        refused = exc
    else:
        event("taken")
        return
    named = refused.argument.partition("[")[0]
    event(named)
    # A raw message's headers, and those of attachments, are named for what they are.
    assert named in {*ARGUMENTS, *CALLBACKS, "headers"}
    assert refused.problem


@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments=calls())
@example(arguments={"to": ["b@example.com"], "subject": "Re: =?utf-7?q?+2AA-?="})
@example(arguments={"to": {"b@example.com", 5, None}})
@example(arguments={"to": ["b@example.com"], "send_at": 1_795_324_468_000})
def test_only_our_errors_leave_a_call(app: Celery, arguments: dict[str, Any]) -> None:
    check(app, arguments)


@pytest.mark.full
@settings(max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments=calls())
def test_only_our_errors_leave_twenty_thousand_calls(app: Celery, arguments: dict[str, Any]) -> None:
    check(app, arguments)


def test_delay_raises_what_the_checks_raise(app: Celery) -> None:
    task = app.tasks[send_via_proxy.name]
    for wrong in ({"to": {5, "b@example.com"}}, {"send_at": 10**5000}, {"attachments": [{"headers": 5}]}):
        with pytest.raises(InvalidMessage) as refused:
            task.delay(**{"from_email": "a@example.com", "to": ["b@example.com"], **wrong})
        assert refused.value.argument.partition("[")[0] in wrong


@given(st.sampled_from([Path("/srv/a.pdf"), PurePosixPath("/srv/a.pdf")]))
def test_a_path_may_be_a_path(path: Path) -> None:
    assert Attachment.from_proxy_disk(path) == Attachment.from_proxy_disk("/srv/a.pdf")
