"""Content headers: read as mail programs read them, written so that every parser reads the same."""

from __future__ import annotations

from email import message_from_string, policy
from email.message import Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.mail.parameters import MediaHeader, read_media
from tests.harness.broken_headers import CONTENT_HEADERS

NAMES = st.sampled_from(["name", "boundary", "xy", "charset", "filename"])
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=90).filter(
    lambda text: text == text.strip() and "=?" not in text
)


@pytest.mark.parametrize(
    ("source", "value", "parameters"),
    [
        ("multipart/mixed; boundary=----=_Part_1", "multipart/mixed", [("boundary", "----=_Part_1")]),
        ("multipart/mixed; boundary=b'1", "multipart/mixed", [("boundary", "b'1")]),
        ("application/pdf; name=My Invoice 2024.pdf", "application/pdf", [("name", "My Invoice 2024.pdf")]),
        ("x/y; name=Invoice (1).pdf; type=text/html", "x/y", [("name", "Invoice (1).pdf"), ("type", "text/html")]),
        (
            "multipart/related; type=text/html; boundary=BB",
            "multipart/related",
            [("type", "text/html"), ("boundary", "BB")],
        ),
        ("text/plain; charset=us-ascii (Plain text)", "text/plain", [("charset", "us-ascii")]),
        ("text/plain;charset=utf-8;format=flowed", "text/plain", [("charset", "utf-8"), ("format", "flowed")]),
        ('text/plain; name="a;b=\\"c\\"\\\\"', "text/plain", [("name", 'a;b="c"\\')]),
        (r'text/plain; name="C:\temp\x.pdf"', "text/plain", [("name", r"C:\temp\x.pdf")]),
        ('text/plain; name="not closed; x=1', "text/plain", [("name", "not closed; x=1")]),
        ("text/plain; name*=utf-8''na%C3%AFve", "text/plain", [("name", "naïve")]),
        ("text/plain; name*=latin-1'en'na%EFve", "text/plain", [("name", "naïve")]),
        ("text/plain; name*0*=utf-8''a%C3; name*1*=%AF; name*2=b", "text/plain", [("name", "aïb")]),
        ("text/plain; name=plain; name*=utf-8''better", "text/plain", [("name", "better")]),
        ("text/plain; name*1=b; name=plain", "text/plain", [("name", "plain")]),
        ("text/plain; name*=nonsense''%ff", "text/plain", [("name", "ÿ")]),
        ('text/plain; name="=?utf-8?q?na=C3=AFve?="', "text/plain", [("name", "naïve")]),
        ("text/plain; x*0*; x*; x; ; é=1; =2", "text/plain", []),
        ("text/plain); é", "text/plain", []),
        ("(a) TEXT/Plain ; a=1", "text/plain", [("a", "1")]),
        ("text; a=1", "", [("a", "1")]),
        ("", "", []),
    ],
)
def test_what_stands_in_mails_is_read(source: str, value: str, parameters: list[tuple[str, str]]) -> None:
    assert read_media("Content-Type", source) == MediaHeader(value=value, parameters=tuple(parameters))


@pytest.mark.parametrize(
    ("source", "value"),
    [("attachment; filename=a b.pdf", "attachment"), ("; filename=a b.pdf", ""), ("Inline", "inline")],
)
def test_a_disposition_is_read(source: str, value: str) -> None:
    media = read_media("Content-Disposition", source)
    assert (media.value, media.get("filename")) == (value, "a b.pdf" if "=" in source else "")


def parsed(line: str, *, strictly: bool) -> Message:
    chosen: policy.Policy = policy.default if strictly else policy.compat32
    return message_from_string(f"Content-Type: {line}\n\n", policy=chosen)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=3, unique_by=lambda pair: pair[0]), st.booleans())
def test_every_parser_reads_what_is_written(parameters: list[tuple[str, str]], strictly: bool) -> None:
    media = MediaHeader(value="text/x-y", parameters=tuple(parameters))
    folded = media.folded("Content-Type")
    assert folded is not None
    assert all(len(line) <= 78 for line in f"Content-Type: {folded}".split("\n"))
    for line in (media.on_one_line, folded):
        message = parsed(line, strictly=strictly)
        assert message.get_content_type() == "text/x-y"
        for name, value in parameters:
            if strictly:
                header: Any = message["Content-Type"]
                assert header.params[name] == value
            else:
                # The older parser gives the charset along, and the bytes.
                read = message.get_param(name)
                assert (bytes(read[2], "latin-1").decode("utf-8") if isinstance(read, tuple) else read) == value
        assert read_media("Content-Type", line) == media


@given(CONTENT_HEADERS)
def test_reading_what_was_written_changes_nothing(source: str) -> None:
    media = read_media("Content-Type", source)
    assert read_media("Content-Type", media.on_one_line) == media
