"""What a handler changes in a mail is checked as the mail was."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.changes import changed
from celery_mailproxy.mail.message import MailMessage

BASE = {
    "from_email": "shop@example.com",
    "to": ["ann@example.com"],
    "cc": ["cc@example.com"],
    "subject": "Order",
    "body": "b",
    "headers": {"X-Kept": "1", "X-Old": "2"},
}


def mail(**arguments: Any) -> MailMessage:
    return MailMessage.from_arguments({**BASE, **arguments}, message_id="m1")


def test_nothing_given_changes_nothing() -> None:
    assert changed(mail()) == mail()


def test_recipients_take_the_place_of_those_before() -> None:
    message = changed(mail(), to="Bob <bob@example.com>", bcc=["z@example.com"])
    assert (message.to, message.cc, message.bcc) == (
        ("Bob <bob@example.com>",),
        ("cc@example.com",),
        ("z@example.com",),
    )


def test_an_empty_list_leaves_out() -> None:
    assert changed(mail(), cc=[]).cc == ()


def test_headers_are_added_replaced_and_removed() -> None:
    message = changed(mail(), headers={"x-old": "3", "X-New": "4", "X-Kept": None})
    assert dict(message.headers) == {"x-old": "3", "X-New": "4"}


def test_an_envelope_of_its_own_ends_with_new_recipients() -> None:
    message = mail(headers={"To": "list@example.com"})
    assert message.envelope
    assert changed(message, to=["bob@example.com"]).envelope == ()
    assert changed(message, headers={"X-New": "1"}).envelope == message.envelope


def test_of_a_raw_mail_headers_and_recipients_change() -> None:
    raw = "From: a@example.com\nTo: b@example.com\nSubject: s\nX-Old: 1\n\nhello\n"
    message = MailMessage.from_arguments({"raw": raw}, message_id="m1")
    other = changed(message, to=["c@example.com"], subject="t", headers={"X-Old": None})
    assert (other.to, other.subject, other.headers) == (("c@example.com",), "t", ())
    assert other.raw == message.raw


@pytest.mark.parametrize(
    ("changes", "argument"),
    [
        ({"to": "no address"}, "to"),
        ({"to": [], "cc": []}, "to"),
        ({"subject": "a\nb"}, "subject"),
        ({"headers": {"X-Bad": "a\r\nX-Evil: 1"}}, "headers['X-Bad']"),
        ({"headers": {"To": "x@example.com"}}, "headers['To']"),
        ({"headers": {"From": "x@example.com"}}, "headers['From']"),
        ({"headers": {"Content-Type": "text/html"}}, "headers['Content-Type']"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(changes: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        changed(mail(), **changes)
    assert raised.value.argument.startswith(argument)
