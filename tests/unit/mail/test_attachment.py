"""Attachments from every form that callers use."""

from __future__ import annotations

import json
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import Attachment
from celery_mailproxy.mail.payload import encode
from tests.unit.mail.mails import mail


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
    path = Attachment.from_proxy_disk("/srv/r.csv")
    endpoint = Attachment.from_endpoint("invoice_id=7", filename="i.pdf")
    assert (url.fetch_mode, url.filename, url.mime_type) == ("http_url", "r.pdf", "application/pdf")
    assert (path.fetch_mode, path.filename, path.mime_type) == ("filesystem", "r.csv", "text/csv")
    assert (endpoint.fetch_mode, endpoint.storage_path) == ("endpoint", "invoice_id=7")
    assert Attachment.from_json(endpoint.to_json()) == endpoint


def test_a_file_of_this_machine_is_read_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "Größe.pdf"
    path.write_bytes(b"%PDF \xff")
    for attachment in (Attachment.from_file(path), Attachment.from_file(str(path)), Attachment.from_any(path)):
        assert (attachment.filename, attachment.content, attachment.mime_type) == (
            "Größe.pdf",
            b"%PDF \xff",
            "application/pdf",
        )
    named = Attachment.from_file(path, filename="a.png", mime_type="image/png", content_id="logo")
    assert (named.filename, named.mime_type, named.disposition) == ("a.png", "image/png", "inline")
    (attached,) = mail(attachments=[path]).attachments
    assert attached.content == b"%PDF \xff"
    # On the broker it is content, as that of any other: the worker may be on another machine.
    (plain,) = normalise_arguments({"attachments": [path]})["attachments"]
    assert Attachment.from_json(json.loads(json.dumps(plain))) == attached


@pytest.mark.parametrize("name", ["absent.pdf", ".", "nul\0.pdf"])
def test_a_file_that_cannot_be_read_is_refused_in_the_caller(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidMessage, match="a file on this machine that can be read") as caught:
        normalise_arguments({"attachments": [("a.txt", "x"), tmp_path / name]})
    assert caught.value.argument == "attachments[1]"
    assert str(tmp_path) not in str(caught.value.redacted())


def test_a_file_of_the_proxys_disk_is_not_looked_for_here() -> None:
    attachment = Attachment.from_proxy_disk(PurePosixPath("/srv/no such/r.csv"))
    assert (attachment.storage_path, attachment.filename) == ("/srv/no such/r.csv", "r.csv")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attachment.from_url("ftp://example.com/x"),
        lambda: Attachment.from_url("https://[::1]/x.pdf"),
        lambda: Attachment.from_proxy_disk("relative.pdf"),
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


@pytest.mark.parametrize("filename", ["x.eml", "x.mht"])
def test_a_type_that_is_guessed_refuses_no_file(filename: str) -> None:
    assert Attachment(filename=filename, content=b"\0 no mail").mime_type == "application/octet-stream"
    assert Attachment(filename=filename, content=b"Subject: x\n\ny").mime_type == "message/rfc822"
    assert Attachment.from_url("http://example.com/x", filename=filename).mime_type == "application/octet-stream"
    with pytest.raises(InvalidMessage, match="message/rfc822"):
        Attachment(filename=filename, content=b"\0 no mail", mime_type="message/rfc822")


def test_a_filename_that_looks_like_a_url_is_a_filename() -> None:
    for filename in ("http://[x", "data:a b/c,", "//[", "data:,"):
        assert "/" in str(Attachment(filename=filename, content=b"x").mime_type)


def test_a_filename_with_a_line_separator_is_encoded() -> None:
    payload = encode(mail(attachments=[("a\u2028b\x85.pdf", b"x")]))
    assert "filename*=utf-8''a%E2%80%A8b%C2%85.pdf" in payload["body"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": 5},
        {"headers": [("a",)]},
        {"is_part": "yes"},
        {"content_id": 5},
        {"storage_path": "x"},
        {"mime_type": 5},
        {"disposition": []},
        {"filename": Path("x")},
    ],
)
def test_an_odd_field_is_an_error_of_ours(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        Attachment.from_json({"filename": "a", "content": b"x", **wrong})
