"""What is left of a text when it goes to a log."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import celery_mailproxy
from celery_mailproxy.errors import redact, visible

PACKAGE = Path(celery_mailproxy.__file__).parent


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


def literals(path: Path) -> Iterator[str]:
    """The texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_the_examples_in_our_own_messages_are_left() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if "testing" not in path.parts and path.name != "errors.py"]
    examples = [text for path in modules for text in literals(path) if re.search(r"@(\w+\.)?(example\.com|host)", text)]
    assert len(examples) >= 6
    assert [text for text in examples if redact(text) != text] == []


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
