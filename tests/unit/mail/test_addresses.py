"""Mail addresses in text."""

from __future__ import annotations

from email import policy
from typing import Any

import pytest

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
    assert any("local part with no domain" in each for each in words), f"see _is_local in mail/addresses.py: {words}"
