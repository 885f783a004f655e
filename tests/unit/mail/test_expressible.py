"""The check in the caller says what the encoding in the worker would say."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail.attachment import Attachment
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import check_expressible, encode
from tests.unit.mail.mails import mail

LONG = "x" * 90
#: Headers and header values of which some cannot be worded for the proxy, and some only with care.
WORDS = st.sampled_from(
    ["Hi", "Größe", "日本語のテスト мир é Übersicht", LONG, "ü" * 200, "a\u2028b", f"<https://e.org/{LONG}>"]
)
LINES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TEXTS = st.one_of(LINES, st.sampled_from(["", "bell\a", "a\0b", "form\ffeed", "From me", ".", "a\r\nb\rc", LONG * 20]))
NAMES = st.one_of(st.none(), st.sampled_from(["a.txt", "", "é" * 90, LONG, LONG * 3, "{MD5:00ff}a.pdf", 'q".pdf']))
#: A signature over a line that is too long for the proxy.
SIGNED = f'Content-Type: multipart/signed; boundary="b"\n\n--b\n\n{LONG}\n--b--\n'.encode()
TREES = st.sampled_from(
    [
        b"Subject: x\n\ny",
        f"Subject: {LONG}\nX-Long: {'word ' * 40}\n\n{'é' * 100}\n".encode(),
        SIGNED,
        f"Content-Type: message/delivery-status\n\n{LONG}\n".encode(),
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!" + LONG.encode(),
    ]
)
FILES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(
        dict,
        filename=NAMES,
        content=st.one_of(st.just(b""), st.binary(max_size=200), st.just(b"\xff\r" * 500)),
        mime_type=st.sampled_from([None, "text/plain; charset=latin-1", "image/png", "text/calendar; method=" + LONG]),
        content_id=st.sampled_from([None, None, "logo", LONG]),
        headers=st.one_of(st.just(()), WORDS.map(lambda word: (("X-A", word),))),
    ),
    st.builds(dict, filename=NAMES, content=TREES, mime_type=st.sampled_from(["message/rfc822", "Message/RFC822"])),
    st.builds(dict, content=TREES, is_part=st.just(True)),
    st.sampled_from(["a.txt", LONG, "{MD5:00ff}a.pdf", LONG * 3]).map(
        lambda name: {"filename": name, "fetch_mode": "endpoint", "storage_path": "x=1"}
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(["X-A", "List-Id", "List-Unsubscribe", "References", "DKIM-Signature", "Sender"]), LINES, max_size=3
)
RAW_HEADS = st.sampled_from(
    [
        "",
        'Content-Type: multipart/signed; boundary="b"\n',
        'Content-Type: multipart/mixed; boundary="b"\n',
        "Content-Type: message/delivery-status\n",
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n",
    ]
)


def mails() -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["Ann", "Jané Doe, Größe & Söhne", LONG, "ü" * 200, f"日本語 {LONG} é"])
    people = names.map(lambda name: [f'"{name}" <b@example.com>'])
    composed = st.fixed_dictionaries(
        {"to": people, "subject": LINES},
        optional={
            "body": TEXTS,
            "html_body": TEXTS,
            "headers": HEADERS,
            "reply_to": people,
            "attachments": st.lists(FILES, max_size=3),
        },
    )
    whole = st.tuples(RAW_HEADS, WORDS, TEXTS).map(
        lambda parts: "From: a@example.com\n{}X-B: {}\n\n--b\n\n{}\n--b--\n".format(*parts)
    )
    return st.one_of(
        composed, st.fixed_dictionaries({"raw": whole}, optional={"attachments": st.lists(FILES, max_size=2)})
    )


def raised(run: Callable[[MailMessage], object], message: MailMessage) -> tuple[type, tuple[Any, ...]] | None:
    try:
        run(message)
    except InvalidMessage as exc:
        return type(exc), exc.args
    return None


@given(mails())
def test_what_the_check_raises_is_what_the_encoding_raises(arguments: dict[str, Any]) -> None:
    try:
        arguments["attachments"] = [Attachment(**fields) for fields in arguments.get("attachments", ())]
        message = mail(**arguments)
    except InvalidMessage:
        event("no message at all")
        return
    expected = raised(encode, message)
    event("expressible" if expected is None else f"refused: {expected[1][0].partition('[')[0]}")
    assert raised(check_expressible, message) == expected


@pytest.mark.parametrize(
    "refused",
    [
        {"headers": {"List-Id": LONG}},
        {"to": f'"{LONG} {"é" * 90}" <b@example.com>', "subject": "ééé" * 90, "headers": {"DKIM-Signature": LONG}},
        {"html_body": "h", "attachments": [Attachment(content=b"x", content_id=LONG)]},
        {"attachments": [Attachment.from_proxy_disk("/x/i.pdf"), Attachment(filename="a.pdf", content=b"")]},
        {"attachments": [Attachment(content=SIGNED, mime_type="message/rfc822")]},
        {"attachments": [Attachment(content=SIGNED, is_part=True)]},
        {"raw": "From: a@x.org\nContent-Type: message/delivery-status\n\nx"},
    ],
)
def test_the_check_refuses(refused: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedMessage):
        check_expressible(mail(**refused))


@pytest.mark.parametrize("reference", [[], [Attachment.from_proxy_disk("/x/i.pdf")]])
def test_the_check_encodes_no_file(reference: list[Attachment]) -> None:
    size = 4_000_000
    message = mail(body="b", attachments=[*reference, ("a.bin", bytes(size))])
    assert peak_of(check_expressible, message) < size / 4
    assert peak_of(encode, message) > size


def peak_of(run: Callable[[MailMessage], object], message: MailMessage) -> int:
    """How many bytes it takes at most."""
    tracemalloc.start()
    try:
        run(message)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
