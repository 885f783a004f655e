"""No header makes the proxy's Python raise, whichever it is: a mail for which it does is tried for ever."""

from __future__ import annotations

from email import message_from_bytes, policy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celery_mailproxy.errors import InvalidMessage
from celery_mailproxy.mail.arguments import normalise_arguments
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode

from ...harness.broken_headers import CONTENT_HEADERS, DATES, IDS, NAMES
from ...harness.every_python import flattened, pythons

pytestmark = [pytest.mark.integration, pytest.mark.long(20)]

PYTHONS = pythons()
BATCHES = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
COMPOSED = st.fixed_dictionaries(
    {"headers": st.fixed_dictionaries({"Message-ID": IDS, "X-A": NAMES}), "to": NAMES.map(lambda name: [quoted(name)])}
)
RAW = st.tuples(IDS, DATES, CONTENT_HEADERS, CONTENT_HEADERS).map(
    lambda drawn: {
        "raw": "From: a@example.com\nTo: b@example.com\nMessage-ID: {}\nDate: {}\nContent-Type: {}\n"
        "Content-Disposition: {}\nContent-Transfer-Encoding: {}\n\nbody\n".format(*drawn, drawn[2])
    }
)


def quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}" <b@example.com>'


def payload_of(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """What the proxy gets; None where the mail is refused."""
    base = {"from_email": "a@example.com", "to": ["b@example.com"], **arguments}
    try:
        return encode(MailMessage.from_arguments(normalise_arguments(base), message_id="m1"))
    except InvalidMessage:
        return None


@BATCHES
@given(st.lists(st.one_of(COMPOSED, RAW), min_size=100, max_size=150))
def test_no_header_makes_any_python_raise(mails: list[dict[str, Any]]) -> None:
    payloads = [payload for mail in mails if (payload := payload_of(mail)) is not None]
    assert len(payloads) > 30
    for python in PYTHONS:
        flattened(python, payloads)


@BATCHES
@given(st.lists(IDS.filter(lambda one: "=?" not in one), min_size=50, max_size=80))
def test_every_id_arrives_as_it_is(ids: list[str]) -> None:
    sent = [(each, payload_of({"headers": {"Message-ID": each}})) for each in ids]
    taken = [(each, payload) for each, payload in sent if payload is not None]
    assert len(taken) > 30
    for python in PYTHONS:
        for (each, _), data in zip(taken, flattened(python, [payload for _, payload in taken]), strict=True):
            assert message_from_bytes(data, policy=policy.compat32)["Message-ID"].strip() == each


def test_every_supported_python_is_tried_where_all_are_installed() -> None:
    assert PYTHONS
