"""What is left of a text when it goes to a log."""

from __future__ import annotations

import pytest

from celery_mailproxy.errors import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("550 <a@example.com> unknown", "550 <address> unknown"),
        ("550 a@example.com unknown", "550 <address> unknown"),
        ("to:a@example.com,b@example.com;", "to:<address>,<address>;"),
        ("'a@example.com' <mailto:a@example.com>", "'<address>' <mailto:<address>>"),
        ("nobody @ all", "nobody @ all"),
    ],
)
def test_addresses_are_replaced(text: str, expected: str) -> None:
    assert redact(text) == expected
