"""Every check of one mail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail.message import MailMessage
from tests.unit.mail.mails import mail


@pytest.mark.parametrize(
    ("arguments", "argument", "problem"),
    [
        ({"to": []}, "to", "recipient"),
        ({"to": ["b@example.com", "nobody"]}, "to[1]", "address"),
        ({"to": "Doe, Jane <j@example.com>"}, "to[0]", "double quotes"),
        ({"to": "a b@example.com"}, "to[0]", "address"),
        ({"to": "b@example.com\r\nBcc: x@example.com"}, "to[0]", "line break"),
        ({"to": "=?utf-8?q?x=0D=0ABcc=3A_x=40example.com?= <b@example.com>"}, "to[0]", ""),
        ({"cc": "group: b@example.com;"}, "cc[0]", "group"),
        ({"bcc": "b@exa mple.com"}, "bcc[0]", "address"),
        ({"from_email": "a@example.com, b@example.com"}, "from_email", "exactly one"),
        ({"return_path": "x"}, "return_path", "address"),
        ({"reply_to": ["x@"]}, "reply_to[0]", "address"),
        ({"subject": "a\nb"}, "subject", "line break"),
        ({"subject": "=?utf-8?q?a=0D=0Ab?="}, "subject", "line break"),
        ({"subject": "\ud800"}, "subject", "decoded"),
        ({"body": "\udc80"}, "body", "surrogate"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers['X-A']", "line break"),
        ({"headers": {"X A": "a"}}, "headers['X A']", "printable"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers['x-a']", "once"),
        ({"headers": {"Content-Type": "text/x"}}, "headers['Content-Type']", "body"),
        ({"headers": {"BCC": "x@example.com"}}, "headers['BCC']", "bcc"),
        ({"headers": {"Subject": "other"}, "subject": "one"}, "headers['Subject']", "something else"),
        ({"headers": {"Message-ID": "abc"}}, "headers['Message-ID']", "angle brackets"),
        ({"headers": {"Date": "today"}}, "headers['Date']", "date"),
        ({"headers": ["X"]}, "headers", "dict"),
        ({"priority": 4}, "priority", "0 (immediate)"),
        ({"priority": "urgent"}, "priority", "0 (immediate)"),
        ({"priority": True}, "priority", "0 (immediate)"),
        ({"send_at": datetime(2030, 1, 1)}, "send_at", "timezone"),  # noqa: DTZ001
        ({"send_at": -1}, "send_at", "1970"),
        ({"send_at": 253_402_300_800}, "send_at", "9999"),
        ({"send_at": True}, "send_at", "unix seconds"),
        ({"send_at": float("nan")}, "send_at", "unix seconds"),
        ({"message_id": ""}, "message_id", "1 to 255"),
        ({"message_id": "a\nb"}, "message_id", "1 to 255"),
        ({"message_id": "x" * 256}, "message_id", "1 to 255"),
        ({"body": b"bytes"}, "body", "text"),
        ({"attachments": [("a.pdf",)]}, "attachments[0]", "content"),
        ({"attachments": [("a.pdf", b"x"), ("b\n.pdf", b"x")]}, "attachments[1]", "line break"),
        ({"attachments": [{"filename": "a", "content": "eA==", "auth": {}}]}, "attachments[0]", "credentials"),
        ({"attachments": [{"filename": "a", "contents": "eA=="}]}, "attachments[0]", "did you mean content"),
        ({"attachments": [{"filename": "a", "content": "no base64"}]}, "attachments[0]", "base64"),
        ({"attachments": ["a.pdf"]}, "attachments[0]", "tuple"),
        ({"attachments": "a.pdf"}, "attachments", "list"),
        ({"raw": "Subject: x\n\ny", "body": "z"}, "body", "raw"),
        ({"raw": "no message"}, "raw", "whole message"),
        ({"raw": 5}, "raw", "EmailMessage"),
    ],
)
def test_wrong_argument_is_named(arguments: dict[str, Any], argument: str, problem: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        mail(**arguments)
    assert caught.value.argument == argument
    assert problem in caught.value.problem
    # What the caller wrote stands behind the rule only, where `redacted` cuts it off.
    assert "example.com" not in caught.value.redacted().problem.replace("like name@example.com", "").replace(
        "<name@example.com>", ""
    ).replace("<id@example.com>", "").replace("as example.com", "")
    # And of that the examples are ours, which are to be read.
    assert "<address>" not in caught.value.redacted().problem


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"to": "jörg@example.com"}, "to[0]"),
        ({"headers": {"To": "other@example.com", "Resent-From": "a@example.com"}}, "headers['Resent-From']"),
        ({"headers": {"Resent-Date": "Fri, 31 Jan 2030 09:00:00 +0100"}}, "headers['Resent-Date']"),
        ({"return_path": "<>"}, "return_path"),
        ({"raw": "From: a@example.com\nReceived: 1\nReceived: 2\n\nx"}, "raw"),
        ({"raw": "From: a@example.com\nTo: c@example.com\nresent-to: d@example.com\n\nx"}, "headers['resent-to']"),
    ],
)
def test_what_the_proxy_cannot_express_is_unsupported(arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(UnsupportedMessage) as caught:
        mail(**arguments)
    assert caught.value.argument == argument


def test_missing_sender_names_the_setting() -> None:
    with pytest.raises(InvalidMessage, match="mail_proxy_from_email"):
        MailMessage.from_arguments({"to": "b@example.com"}, message_id="m1")
    message = MailMessage.from_arguments({"to": "b@example.com"}, message_id="m1", default_from="App <app@example.com>")
    assert message.from_email == "App <app@example.com>"


def test_visible_header_with_the_same_recipients_is_dropped() -> None:
    message = mail(headers={"To": "Bob <b@EXAMPLE.com>", "X-A": "1"})
    assert message.to == ("Bob <b@EXAMPLE.com>",)
    assert message.headers == (("X-A", "1"),)


@pytest.mark.parametrize(
    ("arguments", "to", "cc", "bcc", "envelope"),
    [
        # A subset is seen: the others are blind copies.
        ({"to": ["a@x.com", "b@x.com"], "headers": {"To": "A <a@x.com>"}}, ["A <a@x.com>"], [], ["b@x.com"], []),
        ({"to": "a@x.com", "headers": {"To": "undisclosed-recipients:;"}}, [], [], ["a@x.com"], []),
        ({"to": "a@x.com", "headers": {"Cc": "a@x.com"}}, ["a@x.com"], ["a@x.com"], [], []),
        # Somebody is seen who does not get it: the envelope must say who does.
        ({"to": "a@x.com", "headers": {"To": "L <l@x.com>"}}, ["L <l@x.com>"], [], [], ["a@x.com"]),
        (
            {"to": "A <a@x.com>", "cc": "c@x.com", "bcc": "b@x.com", "headers": {"Cc": "l@x.com"}},
            ["A <a@x.com>"],
            ["l@x.com"],
            [],
            ["a@x.com", "c@x.com", "b@x.com"],
        ),
        ({"to": [], "bcc": "b@x.com", "headers": {"To": "l@x.com"}}, ["l@x.com"], [], [], ["b@x.com"]),
        ({"to": "a@x.com", "raw": "From: f@x.com\nTo: l@x.com\n\nx"}, ["l@x.com"], [], [], ["a@x.com"]),
        ({"to": [], "bcc": "b@x.com", "raw": "From: f@x.com\nTo: l@x.com\n\nx"}, ["l@x.com"], [], ["b@x.com"], []),
    ],
)
def test_headers_say_what_is_seen_and_arguments_who_gets_it(
    arguments: dict[str, Any], to: list[str], cc: list[str], bcc: list[str], envelope: list[str]
) -> None:
    message = mail(**arguments)
    assert (message.to, message.cc, message.bcc) == (tuple(to), tuple(cc), tuple(bcc))
    assert message.envelope == tuple(envelope)
    assert "To" not in dict(message.headers)


def test_a_recipient_that_is_only_seen_gets_nothing() -> None:
    with pytest.raises(InvalidMessage, match="must name a recipient"):
        mail(to=[], headers={"To": "l@example.com"})


def test_visible_sender_leaves_the_envelope_to_from_email() -> None:
    message = mail(headers={"From": "Shop <shop@example.com>"}, from_email="bounce@example.com")
    assert (message.from_email, message.return_path) == ("Shop <shop@example.com>", "bounce@example.com")


def test_bcc_holds_bare_addresses_of_nobody_else() -> None:
    message = mail(cc="c@example.com", bcc=["C <c@example.com>", "Dee <d@example.com>"])
    assert message.bcc == ("d@example.com",)
