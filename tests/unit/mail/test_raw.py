"""Whole messages, given as text, bytes or objects."""

from __future__ import annotations

from email.message import EmailMessage
from email.mime.text import MIMEText

import pytest

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail import raw
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from tests.unit.mail.mails import mail

RAW = (
    "From: =?utf-8?q?Jan=C3=A9?= <a@example.com>\nTo: b@example.com,\n c@example.com\nBcc: d@example.com\n"
    "Subject: =?utf-8?q?Ch=C3=A8re?= maman\nX-A: 1\nContent-Type: text/plain\n\nHello\n"
)


def test_raw_message_says_who_and_what() -> None:
    message = MailMessage.from_arguments({"raw": RAW, "bcc": "e@example.com"}, message_id="m1", default_from="z@z.org")

    assert message.from_email == "Jané <a@example.com>"
    assert message.to == ("b@example.com", "c@example.com")
    assert message.bcc == ("e@example.com", "d@example.com")
    assert message.subject == "Chère maman"
    assert message.headers == (("X-A", "1"),)
    assert message.return_path is None


def test_recipients_beyond_a_raw_message_s_own_are_blind_copies() -> None:
    message = mail(raw=RAW, to=["b@example.com", "c@example.com", "x@example.com"], from_email="bounce@example.com")
    assert message.to == ("b@example.com", "c@example.com")
    assert message.bcc == ("x@example.com", "d@example.com")
    assert message.return_path == "bounce@example.com"


def test_raw_message_without_recipient_or_sender_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="recipient"):
        MailMessage.from_arguments({"raw": "From: a@example.com\n\nx"}, message_id="m1")
    with pytest.raises(InvalidMessage, match="from_email"):
        MailMessage.from_arguments({"raw": "To: a@example.com\n\nx"}, message_id="m1")


@pytest.mark.parametrize(
    ("header", "to", "bcc"),
    [("", ("b@example.com",), ()), ("To: undisclosed-recipients:;\n", (), ("b@example.com",))],
)
def test_raw_message_without_recipients_goes_to_those_of_the_arguments(
    header: str, to: tuple[str, ...], bcc: tuple[str, ...]
) -> None:
    message = mail(raw=f"From: a@example.com\n{header}\nx")
    assert (message.to, message.bcc, message.recipients) == (to, bcc, ("b@example.com",))


def test_raw_bytes_of_any_charset_become_text() -> None:
    data = b"From: a@example.com\r\nContent-Type: text/plain; charset=latin-1\r\n\r\nh\xe9\r\n"
    plain = normalise_arguments({"raw": data})
    text = raw.parse_raw(plain["raw"])
    assert plain["raw"].isascii()
    assert text.header("content-transfer-encoding") in ("quoted-printable", "base64")


def test_raw_object_keeps_international_domains() -> None:
    message = EmailMessage()
    message["From"] = "Jané <a@äöü.com>"
    message["To"] = "b@example.com"
    message.set_content("x")
    assert mail(raw=message, from_email=None).from_email == "Jané <a@xn--4ca0bs.com>"


def test_raw_object_of_the_old_classes_is_taken() -> None:
    message = MIMEText("é", "plain", "utf-8")
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "é"
    assert mail(raw=message).subject == "é"
