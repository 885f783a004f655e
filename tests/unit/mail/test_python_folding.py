"""The `email` package's folding, which we foresee, is still what it was."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from email import _header_value_parser as parser
from email import policy
from typing import Any

import pytest

from celery_mailproxy.mail.python_folding import Part, PythonFolding
from tests.unit.mail.folded import SUBJECTS, folded_here

WORDS = ["Über", "и", "日本語", "der", "naïve", "aaaaaaaaaaaa", "-", "é" * 20, "x" * 40, "A,", "(b)"]
NAMES = ["Müller", "Jané", "Doe", "日本", "x" * 11, "x" * 23]


def headers() -> Iterator[tuple[str, str]]:
    """The same few hundred in every run, many of them with a line that ends where the errors are."""
    chosen = random.Random(7)
    for subject in SUBJECTS:
        yield "Subject", subject
    for _ in range(300):
        yield "Subject", "é " + " ".join(chosen.choices(WORDS, k=chosen.randint(1, 14)))
    for _ in range(100):
        names = [" ".join(chosen.choices(NAMES, k=chosen.randint(0, 3))) for _ in range(chosen.randint(1, 5))]
        yield "To", ", ".join(f"{name} <u{index}@example.com>".strip() for index, name in enumerate(names))


def foreseen(name: str, value: str, *, patched: bool) -> str:
    header: Any = policy.default.header_factory(name, value)
    folding = PythonFolding([f"{name}: "], patched=patched)
    folding.add([Part(header._parse_tree)])
    return "\n".join(folding.lines)[len(name) + 1 :].rstrip()


def test_email_still_folds_as_python_3_13() -> None:
    """As it did until 3.12, or as it has done since 3.13: one of the two explains every header."""
    written = {header: folded_here(*header).replace("\r\n", "\n").rstrip() for header in headers()}
    wrong = {
        patched: [header for header, text in written.items() if foreseen(*header, patched=patched) != text]
        for patched in (False, True)
    }
    assert [] in wrong.values(), (
        f"the email package of Python {sys.version.split()[0]} folds headers as no release before it: "
        f"mail/python_folding.py has to learn how. Neither variant explains {min(wrong.values(), key=len)[:3]}"
    )


@pytest.mark.parametrize("value", ["Jané Doe <j@example.com>, b@example.com", '"A, B" <b@example.com>'])
def test_email_still_gives_a_tree_of_parts_that_say_how_they_fold(value: str) -> None:
    header: Any = policy.default.header_factory("To", value)
    parts = [header._parse_tree]
    for part in parts:
        assert isinstance(part, (parser.TokenList, parser.Terminal)), f"{type(part)} is new: see mail/python_folding.py"
        assert {"token_type", "syntactic_break", "as_ew_allowed", "startswith_fws"} <= set(dir(part))
        # A word has the methods of a text, and nothing below it: so the folding tells the two apart.
        assert hasattr(part, "encode") is isinstance(part, parser.Terminal)
        if isinstance(part, parser.TokenList):
            parts.extend(part)
    kinds = {part.token_type for part in parts}
    assert {"list-separator", "ptext"} & kinds, f"the token types have other names: {sorted(kinds)}"
    assert str(parser.ListSeparator) == ","
