"""Eight bits of whatever charset arrive as the same bytes."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode

HEAD = b"From: a@example.com\nTo: b@example.com\nSubject: s\n"
LATIN = "Größe".encode("latin-1")
#: Whatever the transport does to line ends is not what this is about.
BYTES = st.binary(min_size=1, max_size=200).map(
    lambda data: data.replace(b"\r", b"\n").replace(b"\n--", b"\n") + b"\xff"
)


def arrived(arguments: dict[str, Any]) -> Message:
    """The mail that the proxy builds, as any program reads it."""
    payload = encode(
        MailMessage.from_arguments(normalise_arguments({"to": "b@example.com", **arguments}), message_id="m1")
    )
    head = "".join(f"{name}: {value}\n" for name, value in payload["headers"].items() if name.startswith("Content-"))
    assert payload["body"].isascii()
    return message_from_bytes(f"{head}\n{payload['body']}".encode("ascii"), policy=policy.compat32)


def content(message: Message, *places: int) -> bytes:
    part: Any = message
    for place in places:
        part = part.get_payload()[place]
    data: bytes = part.get_payload(decode=True)
    return data.rstrip(b"\n")


@given(BYTES, st.sampled_from([b"", b"Content-Type: text/plain\n", b"Content-Type: text/plain; charset=nonsense\n"]))
def test_a_raw_message_s_bytes_arrive(data: bytes, head: bytes) -> None:
    assert content(arrived({"raw": HEAD + head + b"\n" + data})) == data.rstrip(b"\n")


@given(BYTES)
def test_bytes_of_a_part_arrive(data: bytes) -> None:
    data = data.replace(b"--BB", b"")
    raw = HEAD + b"Content-Type: multipart/mixed; boundary=BB\n\n--BB\n\n" + data + b"\n--BB--\n"
    assert content(arrived({"raw": raw}), 0) == data.rstrip(b"\n")


def test_bytes_of_an_attached_message_arrive() -> None:
    inner = b"Subject: x\n\n" + LATIN + b"\n"
    message = arrived({"from_email": "a@example.com", "attachments": [("x.eml", inner, "message/rfc822")]})
    assert content(message, 1, 0) == LATIN


def test_a_message_object_of_no_charset_arrives() -> None:
    parsed = message_from_bytes(HEAD + b"\n" + LATIN + b"\n", policy=policy.default)
    assert content(arrived({"raw": parsed})) == LATIN
    assert content(arrived({"from_email": "a@example.com", "attachments": [parsed]}), 1, 0) == LATIN


def test_a_message_object_of_a_wrong_charset_arrives() -> None:
    message = MIMEText("x", "plain", "utf-8")
    message["From"] = "a@example.com"
    del message["Content-Transfer-Encoding"]
    message["Content-Transfer-Encoding"] = "8bit"
    message.set_payload(LATIN.decode("ascii", "surrogateescape"))
    assert content(arrived({"raw": message})) == LATIN


def test_a_message_of_bytes_says_no_charset_that_it_had_not() -> None:
    assert arrived({"raw": HEAD + b"\n" + LATIN}).get_content_charset() is None


def test_text_of_a_known_charset_is_text() -> None:
    message = EmailMessage()
    message["From"] = "a@example.com"
    message.set_content("Größe", charset="latin-1", cte="8bit")
    assert content(arrived({"raw": message})) == LATIN


def test_headers_of_bytes_are_read_as_programs_do() -> None:
    raw = b"From: a@example.com\nSubject: " + LATIN + b"\n\n" + LATIN
    plain = normalise_arguments({"raw": raw, "to": "b@example.com"})
    assert MailMessage.from_arguments(plain, message_id="m1").subject == "Größe"


@pytest.mark.parametrize("boundary", ["b" * 66, "b" * 70])
def test_a_long_boundary_is_replaced(boundary: str) -> None:
    raw = HEAD + f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n--{boundary}\n\nx\n--{boundary}--\n'.encode()
    message = arrived({"raw": raw})
    assert content(message, 0) == b"x"
    assert len(str(message.get_boundary())) < 60


SIGNED = (
    b"--S\nContent-Type: text/plain\n\nHello  \n.\nFrom me\n\n"
    b"--S\nContent-Type: application/pgp-signature\n\nx\n--S--\n"
)
SIGNED_HEAD = b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary="S"\n\n'


@pytest.mark.parametrize("head", [b"Subject: x\n", b"Subject: x\nX-Long: " + b"z" * 30 + b" " + b"y" * 60 + b"\n"])
def test_a_signed_message_is_attached_byte_for_byte(head: bytes) -> None:
    attached = ("x.eml", head + SIGNED_HEAD + SIGNED, "message/rfc822")
    message: Any = arrived({"from_email": "a@example.com", "attachments": [attached]})
    inner = message.get_payload(1).get_payload(0)
    assert inner.get_payload(0).as_bytes() in SIGNED
    assert b"Hello  \n.\nFrom me\n" in message.as_bytes()


@pytest.mark.parametrize("line", [LATIN, b"x" * 90])
def test_a_signature_that_would_break_is_refused(line: bytes) -> None:
    attached = ("x.eml", b"Subject: x\n" + SIGNED_HEAD + SIGNED.replace(b"Hello", line), "message/rfc822")
    with pytest.raises(UnsupportedMessage, match="signed"):
        arrived({"from_email": "a@example.com", "attachments": [attached]})


def test_a_message_within_that_is_encoded_as_a_whole_is_decoded() -> None:
    code = b"U3ViamVjdDogeAoKaGVsbG8K" + b"" * 10
    part = b"--BB\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + code * 4 + b"\n--BB--\n"
    message = arrived({"raw": HEAD + b"Content-Type: multipart/mixed; boundary=BB\n\n" + part})
    assert b"hello" in content(message, 0, 0)


def test_parameters_that_the_standard_library_cannot_sort_are_refused() -> None:
    raw = HEAD + b'Content-Type: multipart/mixed; boundary=b; x*="a"; x*0="b"\n\n--b\n\n' + LATIN + b"\n--b--\n"
    with pytest.raises(InvalidMessage, match="Content headers"):
        arrived({"raw": raw})


@pytest.mark.parametrize("boundary", ["----=_Part_1", "b'1", "a b", "a=b;"])
def test_a_boundary_without_quotes_stays_the_boundary_where_parts_are_encoded(boundary: str) -> None:
    raw = HEAD + f"Content-Type: multipart/mixed; boundary={boundary}\n\n--{boundary.rstrip(';')}\n\n".encode()
    message = arrived({"raw": raw + LATIN + f"\n--{boundary.rstrip(';')}--\n".encode()})
    assert content(message, 0) == LATIN


def test_parameters_within_that_nobody_can_read_do_no_harm() -> None:
    part = b'--BB\nContent-Type: text/plain; x*0*; x*="a"; x*0="b"\n\n' + LATIN + b"\n--BB--\n"
    assert content(arrived({"raw": HEAD + b"Content-Type: multipart/mixed; boundary=BB\n\n" + part}), 0) == LATIN
