"""Anybody may write to the bounce mailbox: whatever comes, reading it ends, and raises nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.bounces.finding import candidates
from celery_mailproxy.bounces.parsing import read_mail
from tests.unit.bounces.corpus import TEMPLATE, specimens

SOURCES = [each.source for each in specimens()]


@given(st.sampled_from(SOURCES), st.data())
def test_damaged_mail_raises_nothing(source: bytes, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(source)))
        stop = min(len(source), start + data.draw(st.integers(0, 40)))
        source = source[:start] + data.draw(st.binary(max_size=12)) + source[stop:]
    reading = read_mail(source)
    if reading is not None:
        candidates(reading.clues, TEMPLATE)


@given(st.binary(max_size=400))
def test_bytes_of_any_kind_raise_nothing(source: bytes) -> None:
    read_mail(source)
    read_mail(b"From: MAILER-DAEMON@x.example\nContent-Type: multipart/report\n\n" + source)


@pytest.mark.parametrize(
    "filling",
    [
        b"a",
        b"<",
        b"@",
        b"<@",
        b"a@",
        b"550 ",
        b"5.",
        b"user a ",
        b"\nMessage-ID: <",
        b"1.1.",
        b"<a@b",
        b" ",
        b"-",
        b"> ",
    ],
)
def test_mail_made_to_keep_us_busy_is_read_in_seconds(filling: bytes) -> None:
    head = b"From: MAILER-DAEMON@x.example\nSubject: failure notice\n\ncould not be delivered\n"
    began = time.process_time()
    read_mail(head + filling * (256 * 1024 // len(filling)))
    # It takes less than one; a pattern without a bound takes a minute, or an hour.
    assert time.process_time() - began < 10


def test_notice_that_quotes_many_ids_is_asked_for_few() -> None:
    lines = b"".join(b"References: <%d@x.example>\n" % number for number in range(100))
    original = b"--b\nContent-Type: message/rfc822\n\n" + lines.replace(b"References", b"Message-ID") + b"\n--b--\n"
    reading = read_mail(
        b'From: MAILER-DAEMON@x.example\nContent-Type: multipart/report; boundary="b"\n\n--b\n'
        b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
        b"Final-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n\n" + original
    )
    assert reading is not None
    assert len(candidates(reading.clues, TEMPLATE)) == 8
