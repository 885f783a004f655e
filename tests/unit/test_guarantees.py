"""`docs/explanation/guarantees.md`: each row of each of its tables names a test that shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/explanation/guarantees.md").read_text()
DEFINED = {
    name
    for pattern in ("test_*.py", "constructs.py")
    for path in (ROOT / "tests").rglob(pattern)
    for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.M)
}


def tables() -> list[list[list[str]]]:
    """Each table of the page as its rows, each as its cells; the first row is the header."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", TEXT, re.M)
    # No cell of this page holds an escaped bar.
    return [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]


def rows() -> list[list[str]]:
    return [row for _, _, *body in tables() for row in body]


def test_the_page_has_its_tables() -> None:
    assert "\\|" not in TEXT
    assert len(tables()) >= 4
    assert len(rows()) > 50


def test_every_table_has_a_column_for_the_tests() -> None:
    assert {header[-1] for header, *_ in tables()} == {"test"}


@pytest.mark.parametrize("row", rows(), ids=lambda row: " ".join(row[:2])[:60])
def test_each_row_names_a_test_that_exists(row: list[str]) -> None:
    named = set(re.findall(r"`(test_\w+)`", row[-1]))
    assert named
    assert named <= DEFINED


@pytest.mark.parametrize("page", ["guarantees.md", "security.md"])
def test_every_test_that_a_page_of_promises_names_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/explanation" / page).read_text()))
    assert named
    assert named <= DEFINED, named - DEFINED
