"""The tutorial in docs/ is the example's README, and the code it shows is the example's."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/django"
README = EXAMPLE / "README.md"
TUTORIAL = ROOT / "docs/tutorial/django.md"

SHOWN = re.findall(r"^```py\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tutorial_is_the_readme() -> None:
    """To write it anew: sed 's,(../../docs/,(../,' examples/django/README.md > docs/tutorial/django.md"""
    assert TUTORIAL.read_text() == README.read_text().replace("](../../docs/", "](../")


@pytest.mark.parametrize("code", SHOWN, ids=lambda code: code.strip().splitlines()[0].strip())
def test_the_code_it_shows_is_that_of_the_example(code: str) -> None:
    as_written = [textwrap.indent(code, "    " * depth) for depth in range(3)]
    assert any(each in path.read_text() for path in EXAMPLE.rglob("*.py") for each in as_written)


def test_it_shows_code() -> None:
    assert len(SHOWN) >= 10


def test_its_pictures_are_small() -> None:
    pictures = [README.parent / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.read_text())]
    assert len(pictures) >= 5
    assert {path.name for path in pictures} == {path.name for path in pictures[0].parent.glob("*.png")}
    for path in pictures:
        assert path.stat().st_size < 150_000, path
