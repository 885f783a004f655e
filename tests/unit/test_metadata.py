"""What the package index shows is what the tests run with, and what the README says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()


def classified(prefix: str) -> set[str]:
    """The releases that the classifiers name."""
    return set(re.findall(rf'^    "{prefix} :: (\d+\.\d+)",$', PROJECT, re.MULTILINE))


def run_with(name: str) -> set[str]:
    """Those in the tuple, or among the keys of the dict, of that name in noxfile.py."""
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return set(ast.literal_eval(node.value))
    raise AssertionError(name)


def said(row: str) -> set[str]:
    """Those in the README's table of versions."""
    match = re.search(rf"^\| {row}[^|]* \| ([^|]*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert match
    return set(re.findall(r"\d+\.\d+", match[1]))


@pytest.mark.parametrize(
    ("prefix", "name", "row"),
    [("Programming Language :: Python", "PYTHONS", "Python"), ("Framework :: Django", "DJANGOS", "Django")],
)
def test_classifiers_tests_and_readme_name_the_same_releases(prefix: str, name: str, row: str) -> None:
    assert classified(prefix) == run_with(name) == said(row)


def test_the_frameworks_are_named() -> None:
    for framework in ("Celery", "Django", "Pytest"):
        assert f'"Framework :: {framework}",' in PROJECT
