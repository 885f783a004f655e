"""Mail addresses in text."""

from __future__ import annotations

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
