"""Mail addresses in text."""

from __future__ import annotations

from email import policy
from typing import Any

import pytest

from celery_mailproxy.errors import InvalidMessage, UnsupportedMessage
from celery_mailproxy.mail.addresses import _HARMLESS_TEXTS, parse_mailbox
from tests.unit.mail.mails import mail


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


def test_email_still_names_a_missing_domain_by_these_words() -> None:
    """The parser has no class of its own for this defect; a raw message may be from `webmaster`."""
    header: Any = policy.default.header_factory("To", "webmaster")
    words = [str(defect) for defect in header.defects]
    assert any("local part with no domain" in each for each in words), f"see _is_known in mail/addresses.py: {words}"


def test_email_still_names_encoded_words_in_quotes_by_these_words() -> None:
    header: Any = policy.default.header_factory("To", '"=?utf-8?b?WsO8cmljaA==?=" <z@example.com>')
    assert all(any(text in str(defect) for text in _HARMLESS_TEXTS) for defect in header.defects), header.defects


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("root@example.com (Cron Daemon)", "Cron Daemon <root@example.com>"),
        ("a@example.com (Zoë (the first))", "Zoë the first <a@example.com>"),
        ('"=?utf-8?b?WsO8cmljaA==?=" <z@example.com>', "Zürich <z@example.com>"),
        ('"=?utf-8?q?Z=C3=BC?= =?utf-8?q?rich?=" <z@example.com>', "Zürich <z@example.com>"),
        ('"john..doe"@example.com', '"john..doe"@example.com'),
        ('".john."@example.com', '".john."@example.com'),
        ('"john.doe"@example.com', "john.doe@example.com"),
        (r'"a\"b"@example.com', r'"a\"b"@example.com'),
        ("a@i❤.ws", "a@xn--i-7iq.ws"),
        ("a@exampl€.com", "a@xn--exampl-nc1c.com"),
        ("a@straße.de", "a@xn--strae-oqa.de"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
    ],
)
def test_what_other_mailers_take_is_taken(text: str, mailbox: str) -> None:
    parsed = str(parse_mailbox("to", text))
    assert parsed == mailbox
    assert str(parse_mailbox("to", parsed)) == mailbox


@pytest.mark.parametrize("text", ["a@x.org, b@x.org", "Team: a@x.org, b@x.org;"])
def test_what_is_legal_and_cannot_be_expressed_is_unsupported(text: str) -> None:
    with pytest.raises(UnsupportedMessage, match="genro-mail-proxy"):
        parse_mailbox("from_email", text)


@pytest.mark.parametrize("text", ["a@[", "a@[]", "a@[x]y]", "a@ \u2603\u2603..com"])
def test_a_domain_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        parse_mailbox("to", text)
