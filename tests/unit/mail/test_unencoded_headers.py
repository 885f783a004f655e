"""Headers that programs read, and none decodes: a long word is cut where it may be, else refused."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.errors import UnsupportedMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.mail.summary import summary_of
from celery_mailproxy.mail.unencoded_headers import unencoded
from tests.unit.mail.folded import folded_here
from tests.unit.mail.mails import mail

LONG = "A" * 120
CODE = base64.b64encode(bytes(range(256))).decode()
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
    max_leaves=30,
)


def sent(name: str, value: str) -> str:
    """The header as the proxy writes it, on one line."""
    worded = encode(mail(headers={name: value}))["headers"][name]
    folded = folded_here(name, worded)
    assert all(len(line) <= 78 for line in folded.split("\r\n"))
    assert "=?" not in folded
    return folded.replace("\r\n", "").strip()


@given(st.one_of(st.lists(JSON, max_size=8), st.dictionaries(st.text(max_size=30), JSON, max_size=8)))
def test_json_arrives_as_the_same_json(value: Any) -> None:
    source = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        arrived = unencoded("X-SMTPAPI", source, is_strict=True)
    except UnsupportedMessage:
        assert any(len(word) > 60 for word in json.dumps(value).split())
        return
    assert json.loads(arrived) == value
    if arrived != source:
        assert arrived.isascii()
        assert all(len(word) <= 77 for word in arrived.split())


def test_json_of_an_email_service_is_cut_between_its_tokens() -> None:
    value = {"to": [f"u{index}@example.com" for index in range(20)], "category": "Größe", "n": 1.50}
    assert json.loads(sent("X-SMTPAPI", json.dumps(value, separators=(",", ":"), ensure_ascii=False))) == value


@pytest.mark.parametrize(
    "name", ["X-SMTPAPI", "X-MC-Metadata", "X-MSYS-API", "X-Mailgun-Variables", "X-MJ-Vars", "X-Any"]
)
def test_json_with_a_word_that_is_too_long_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedMessage, match="white space"):
        encode(mail(headers={name: json.dumps({"order": LONG})}))


@pytest.mark.parametrize(
    "name", ["X-PM-Metadata-order", "X-SES-MESSAGE-TAGS", "X-Mailgun-Tag", "Feedback-ID", "X-Custom"]
)
def test_a_long_word_for_a_program_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedMessage, match=name):
        encode(mail(headers={name: LONG}))
    assert sent(name, "A" * 77) == "A" * 77


def test_a_long_word_for_people_is_encoded() -> None:
    assert encode(mail(subject=LONG, headers={"Comments": LONG}))["headers"]["Comments"] == LONG


def test_an_unknown_header_of_a_message_that_exists_is_encoded() -> None:
    raw = f"From: a@example.com\nX-MS-Exchange-Data: {LONG}\n\nx"
    assert encode(mail(raw=raw))["headers"]["X-MS-Exchange-Data"] == LONG
    with pytest.raises(UnsupportedMessage, match="X-SMTPAPI"):
        encode(mail(raw=f"From: a@example.com\nX-SMTPAPI: {LONG}\n\nx"))


def test_keys_and_faces_are_cut_where_readers_ignore_it() -> None:
    assert (
        sent("Autocrypt", f"addr=a@example.com; keydata={CODE}").replace(" ", "")
        == f"addr=a@example.com;keydata={CODE}"
    )
    assert sent("Face", CODE).replace(" ", "") == CODE
    signature = f"v=1;d=example.com;h={':'.join(['subject'] * 20)};bh={CODE[:44]};b={CODE}"
    arrived = sent("DKIM-Signature", signature)
    assert arrived.replace(" ", "") == signature
    assert "d=example.com;" in arrived.split()


def test_a_tag_that_may_hold_no_space_is_refused() -> None:
    with pytest.raises(UnsupportedMessage, match="DKIM-Signature"):
        encode(mail(headers={"DKIM-Signature": f"v=1; d={LONG}; b=x"}))


LEFT = "DB9PR04MB8461A1B2C3D4E5F60718293A4B5C6D7E8F9"


@pytest.mark.parametrize("length", [78, 90, 100])
def test_a_long_id_is_cut_behind_its_at(length: int, caplog: pytest.LogCaptureFixture) -> None:
    right = f"{LEFT[:12]}.eurprd04.prod.outlook.com"
    long = f"<{'L' * (length - len(right) - 3)}@{right}>"
    assert len(long) == length
    arrived = sent("References", f"<a@example.com> {long} <b@example.com>")
    assert arrived == f"<a@example.com> {long.replace('@', '@ ')} <b@example.com>"
    assert sent("In-Reply-To", long) == long.replace("@", "@ ")
    assert not caplog.records


def test_a_longer_id_is_cut_behind_dots() -> None:
    long = f"<{'.'.join(['part'] * 30)}@{'.'.join(['example'] * 20)}.com>"
    assert sent("In-Reply-To", long).replace(" ", "") == long


def test_an_id_that_cannot_be_cut_is_left_out_and_the_delivery_says_so(caplog: pytest.LogCaptureFixture) -> None:
    message = mail(headers={"References": f"<a@example.com> <{LONG}@b>", "In-Reply-To": f"<{LONG}@b>"})
    with caplog.at_level(logging.WARNING):
        headers = encode(message)["headers"]
    assert headers["References"] == "<a@example.com>"
    assert "In-Reply-To" not in headers
    for keeps_envelope in (True, False):
        assert summary_of(message, keeps_envelope=keeps_envelope)["left_out"] == ["References", "In-Reply-To"]
    assert "left_out" not in summary_of(mail(headers={"References": "<a@b>"}), keeps_envelope=True)
    assert "example.com" not in caplog.text


def test_a_signed_raw_message_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    encode(mail(raw="From: a@example.com\nDKIM-Signature: v=1; d=example.com; b=x\n\nx"))
    assert "message m1 is DKIM-signed" in caplog.text
