"""Headers with a grammar of their own, worded for every parser."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.mail.structured import worded_content, worded_date, worded_id, worded_type
from tests.harness.broken_headers import CONTENT_HEADERS, DATES, IDS
from tests.unit.mail.mails import mail


def written(name: str, value: str) -> str:
    """What this Python's `email` package writes of a header."""
    message = EmailMessage(policy=policy.SMTP)
    message[name] = value
    return message.as_bytes().decode("ascii").partition(":")[2].replace("\r\n", "").strip()


def raw(**headers: str) -> dict[str, Any]:
    head = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    return encode(mail(raw=f"From: a@example.com\nTo: b@example.com\n{head}\nbody\n"))


@given(IDS)
def test_an_id_is_written_as_it_is(value: str) -> None:
    if "=?" not in value:
        assert written("Message-ID", worded_id(value)) == value


def test_a_plain_id_is_given_as_it_is() -> None:
    plain = "<CAF+Tz/+q=x_1-2@mail.example.com>"
    assert worded_id(plain) == plain
    assert encode(mail(headers={"Message-ID": plain}))["message_id"] == plain


def test_an_id_of_microsoft_s_goes_in_a_raw_message_too() -> None:
    assert written("Message-ID", raw(Message_ID="<[x@mail.example.com]>")["message_id"]) == "<[x@mail.example.com]>"


@given(DATES)
def test_a_date_is_written_or_none(value: str) -> None:
    date = worded_date(value)
    assert date is None or written("Date", date) == date


def test_a_raw_message_with_an_unreadable_date_has_the_moment_it_goes() -> None:
    assert raw(Date="today")["headers"]["Date"].endswith("+0000")
    assert raw(Date="Fri, 31 Jan 2031 09:00:00 +0100 (CET)")["headers"]["Date"] == "Fri, 31 Jan 2031 09:00:00 +0100"


@pytest.mark.parametrize("date", ["today", "Fri, 31 Jan 2030 09:00:00 +99999999999999999"])
def test_an_unreadable_date_of_a_caller_s_is_refused(date: str) -> None:
    with pytest.raises(InvalidMessage, match="Date"):
        mail(headers={"Date": date})


@given(CONTENT_HEADERS)
def test_a_content_type_survives_this_python(value: str) -> None:
    worded = worded_content("Content-Type", value)
    if worded is not None:
        assert written("Content-Type", worded).partition(";")[0] == worded.partition(";")[0]


@pytest.mark.parametrize(
    ("value", "worded"),
    [
        ("8BIT; x", "8bit"),
        ("quoted-printable (x)", "quoted-printable"),
        ("(x) base64", "base64"),
        ("", None),
        ("[", None),
    ],
)
def test_a_transfer_encoding_is_one_word(value: str, worded: str | None) -> None:
    assert worded_content("Content-Transfer-Encoding", value) == worded


def test_a_file_s_type_is_reworded_only_if_it_has_to_be() -> None:
    assert worded_type("text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    assert worded_type("text/plain; name=a b; x*0*") == 'text/plain; name="a b"'


@pytest.mark.parametrize("name", ["Resent-To", "Resent-From", "Resent-Cc", "Resent-Sender"])
def test_resent_headers_hold_mailboxes(name: str) -> None:
    assert encode(mail(headers={name: "Zoë <z@example.com>"}))["headers"][name] == "Zoë <z@example.com>"
    with pytest.raises(InvalidMessage, match=name):
        mail(headers={name: "<[x@y]>"})


def test_other_content_headers_of_a_raw_message_arrive() -> None:
    payload = raw(Content_Description="Größe", Content_Language="de", Content_Disposition="inline; filename=a b.txt")
    assert payload["headers"]["Content-Description"] == "Größe"
    assert payload["headers"]["Content-Language"] == "de"
    assert payload["headers"]["Content-Disposition"] == 'inline; filename="a b.txt"'


def test_a_raw_message_without_a_readable_type_is_text() -> None:
    assert "Content-Type" not in raw(Content_Type="nonsense")["headers"]
