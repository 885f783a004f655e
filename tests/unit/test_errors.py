"""What is left of a text when it goes to a log."""

from __future__ import annotations

import json

import pytest

from celery_mailproxy.errors import redact, visible


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("a\x0bb\x0cc\x1cd\x85e\u2028f\u2029g", "a\\u000bb\\u000cc\\u001cd\\u0085e\\u2028f\\u2029g"),
        ("\x1b[2J\x9b31m\x00\x7f", "\\u001b[2J\\u009b31m\\u0000\\u007f"),
        ("\u202egpj.exe\u2066\u200f\u061c", "\\u202egpj.exe\\u2066\\u200f\\u061c"),
        ("half \ud83d of it", "half \\ud83d of it"),
        ("Größe\t日本 👩‍🚀 \u00a0", "Größe\t日本 👩‍🚀 \u00a0"),
    ],
)
def test_what_steers_a_terminal_or_begins_a_line_is_escaped(text: str, expected: str) -> None:
    assert visible(text) == expected
    assert redact(text) == expected
    assert len(visible(text).splitlines()) == 1
    # As JSON reads it: what was written can be found again.
    assert json.loads(f'"{expected}"', strict=False) == text
