from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.text import MIMEText
from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail import attachment as attachments
from celery_mailproxy.mail import headers as folding
from celery_mailproxy.mail import message as messages
from celery_mailproxy.mail import parts as trees
from celery_mailproxy.mail import payload as mime
from celery_mailproxy.mail import python_folding as refolding
from celery_mailproxy.mail import raw
from celery_mailproxy.mail import validation as composition
from celery_mailproxy.mail.message import Attachment, MailMessage, Priority, normalise_arguments

BASE = {"from_email": "a@example.com", "to": ["b@example.com"]}


def mail(**arguments: Any) -> MailMessage:
    return MailMessage.from_arguments({**BASE, **arguments}, message_id="m1")


@pytest.mark.parametrize("module", [attachments, composition, folding, messages, mime, raw, refolding, trees])
def test_public_names_are_sorted(module: Any) -> None:
    assert module.__all__ == sorted(module.__all__)


def test_plain_arguments_become_a_message() -> None:
    message = mail(subject="Hi", body="text", priority="HIGH", tenant_id=7, send_at=100)

    assert message.from_email == "a@example.com"
    assert message.to == ("b@example.com",)
    assert message.priority is Priority.HIGH
    assert message.tenant_id == "7"
    assert message.send_at == 100
    assert message.server == "default"
    assert message.recipients == ("b@example.com",)
    assert "text" not in repr(message)


def test_message_survives_json() -> None:
    message = mail(
        subject="é",
        body="b",
        html_body="<p>",
        cc="c@example.com",
        bcc=["d@example.com"],
        headers={"X-A": "1"},
        attachments=[("a.txt", "é"), Attachment.from_endpoint("id=7", filename="i.pdf")],
        priority=0,
        reply_to="r@example.com",
        batch_code="c1",
        send_at=5,
        account_id="acc",
    )

    assert MailMessage.from_json(json.loads(json.dumps(message.to_json()))) == message


def test_normalising_is_json_and_idempotent() -> None:
    message = EmailMessage()
    message["Subject"] = "é"
    message.set_content("é")
    plain = normalise_arguments(
        {
            "to": "b@example.com",
            "priority": Priority.LOW,
            "send_at": datetime(2030, 1, 1, tzinfo=timezone.utc),
            "attachments": [("a.bin", b"\xff"), message, MIMEApplication(b"x")],
            "headers": {"X-N": 5},
            "cc": None,
        }
    )

    assert plain["send_at"] == 1893456000
    assert plain["to"] == ["b@example.com"]
    assert plain["priority"] == 3
    assert plain["headers"] == {"X-N": "5"}
    assert "cc" not in plain
    assert normalise_arguments(json.loads(json.dumps(plain))) == plain


def test_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(InvalidMessage, match="did you mean subject") as caught:
        normalise_arguments({"subjekt": "Hi"})
    assert caught.value.argument == "subjekt"


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
    assert "example.com" not in caught.value.redacted().problem.replace("like a@example.com", "").replace(
        "<a@example.com>", ""
    ).replace("<a1@example.com>", "").replace("as example.com", "")


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


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("b@example.com", ("b@example.com",)),
        ("b@example.com, Ann <c@example.com>", ("b@example.com", "Ann <c@example.com>")),
        ('"Doe, Jané" <j@example.com>', ('"Doe, Jané" <j@example.com>',)),
        ("Jané Doe <j@example.com>", ("Jané Doe <j@example.com>",)),
        ("=?utf-8?b?5pel5pys?= =?utf-8?b?6Kqe?= <j@example.com>", ("日本語 <j@example.com>",)),
        ("x@äöü.com", ("x@xn--4ca0bs.com",)),
        ("x@straße.de", ("x@xn--strae-oqa.de",)),
        ("x@[192.0.2.1]", ("x@[192.0.2.1]",)),
        (["b@example.com", "B@example.com", "b@EXAMPLE.com"], ("b@example.com", "B@example.com")),
        ("Mr. X <x@example.com>", ('"Mr. X" <x@example.com>',)),
    ],
)
def test_addresses_are_understood(given: Any, kept: tuple[str, ...]) -> None:
    assert mail(to=given).to == kept


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


def test_arguments_message_id_wins() -> None:
    assert mail(message_id="own").message_id == "own"


def test_aware_time_of_any_zone_becomes_unix_seconds() -> None:
    zone = timezone(timedelta(hours=2))
    assert mail(send_at=datetime(1970, 1, 1, 2, 0, 5, 900, tzinfo=zone)).send_at == 5


# --------------------------------------------------------------------------- raw messages

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


# --------------------------------------------------------------------------- attachments


def test_tuple_with_text_is_text_in_utf8() -> None:
    (attachment,) = mail(attachments=[("é.txt", "é")]).attachments
    assert (attachment.content, attachment.mime_type) == ("é".encode(), "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("filename", "mime_type"),
    [("a.pdf", "application/pdf"), ("a.tar.gz", "application/octet-stream"), ("a", "application/octet-stream")],
)
def test_mime_type_is_guessed(filename: str, mime_type: str) -> None:
    assert Attachment(filename=filename, content=b"").mime_type == mime_type


def test_content_id_makes_an_inline_attachment() -> None:
    image = Attachment(filename="l.png", content=b"x", content_id="<logo>")
    assert (image.content_id, image.disposition) == ("logo", "inline")
    assert "content=" not in repr(image)


def test_references_keep_where_they_are() -> None:
    url = Attachment.from_url("https://example.com/files/r.pdf?x=1")
    path = Attachment.from_path("/srv/r.csv")
    endpoint = Attachment.from_endpoint("invoice_id=7", filename="i.pdf")
    assert (url.fetch_mode, url.filename, url.mime_type) == ("http_url", "r.pdf", "application/pdf")
    assert (path.fetch_mode, path.filename, path.mime_type) == ("filesystem", "r.csv", "text/csv")
    assert (endpoint.fetch_mode, endpoint.storage_path) == ("endpoint", "invoice_id=7")
    assert Attachment.from_json(endpoint.to_json()) == endpoint


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attachment.from_url("ftp://example.com/x"),
        lambda: Attachment.from_url("https://[::1]/x.pdf"),
        lambda: Attachment.from_path("relative.pdf"),
        lambda: Attachment.from_endpoint("https://example.com/steal", filename="x"),
        lambda: Attachment.from_endpoint("[https://example.com/steal]", filename="x"),
        lambda: Attachment.from_endpoint("x", filename=""),
        lambda: Attachment(filename="a"),
        lambda: Attachment(filename="a", content=b"", mime_type="pdf"),
        lambda: Attachment(filename="a", content=b"", mime_type="multipart/mixed"),
        lambda: Attachment(filename="a", content=b"", mime_type="message/rfc822"),
        lambda: Attachment(filename="a", content=b"", content_id="a b"),
        lambda: Attachment(filename="a", content=b"", headers=(("Content-Type", "x/y"),)),
        lambda: Attachment(filename="a", content=b"", headers=(("X", "a\nb"),)),
        lambda: Attachment(filename="a", content=b"", fetch_mode="endpoint", storage_path="x"),
    ],
)
def test_wrong_attachment_is_refused(make: Any) -> None:
    with pytest.raises(InvalidMessage) as caught:
        make()
    assert caught.value.argument == "attachments"


def test_messages_and_parts_are_told_apart() -> None:
    message = EmailMessage()
    message["Subject"] = "inner"
    message.set_content("x")
    part = MIMEApplication(b"x", "pdf")
    assert Attachment.from_any(message).mime_type == "message/rfc822"
    assert Attachment.from_any(part).is_part
    assert Attachment.from_any((None, message, "message/rfc822")).mime_type == "message/rfc822"
