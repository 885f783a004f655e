"""`docs/explanation/where-is.md` leads to what exists: its packages, modules and names are those of the package."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "celery_mailproxy"
TEXT = (ROOT / "docs/explanation/where-is.md").read_text()

#: A place in the package: `celery_mailproxy/mail/`, `celery_mailproxy/errors.py` or `celery_mailproxy.cli.check`.
_PLACE = re.compile(r"`(celery_mailproxy[\w/.]+)`")


def packages() -> list[str]:
    """The entries of the table of packages, in its order: `django`, `cli`, …, `errors`."""
    table = TEXT.split("## The packages", 1)[1].split("\n\n**", 1)[0]
    return [name.removesuffix(".py") for name in re.findall(r"^\| `celery_mailproxy/([\w.]+?)/?` \|", table, re.M)]


def files(place: str) -> list[Path]:
    """The source files of a place; none where it does not exist."""
    if "/" not in place:
        stem = ROOT / place.replace(".", "/")
        return [path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()]
    path = ROOT / place
    return sorted(path.rglob("*.py")) if place.endswith("/") else [path] if path.is_file() else []


def definitions(path: Path) -> Iterator[str]:
    """What a module defines or offers, and the methods of its classes: `Submitter`, `Submitter.submit`."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
            if isinstance(node, ast.ClassDef):
                yield from (f"{node.name}.{method.name}" for method in node.body if isinstance(method, ast.FunctionDef))


def rows() -> list[tuple[str, list[str], list[str]]]:
    """What is looked for, the places and the names of each row of the map."""
    tables = TEXT.split("## An email goes out", 1)[1]
    found = re.findall(r"^\| (.+?) \| (.*`celery_mailproxy.*) \|(.*)\|$", tables, re.M)
    return [(title, _PLACE.findall(places), re.findall(r"`([\w.]+)`", names)) for title, places, names in found]


def test_every_package_of_the_root_is_in_the_table() -> None:
    entries = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {*packages(), "testing"} == entries - {"__init__", "_version"}


def test_the_packages_stand_in_the_order_of_the_contract() -> None:
    contract = re.search(
        r'containers = \["celery_mailproxy"\].*?^layers = \[\n(.*?)^\]',
        (ROOT / "pyproject.toml").read_text(),
        re.M | re.S,
    )
    assert contract is not None
    assert packages() == re.findall(r"\w+", contract[1])


def test_every_place_exists() -> None:
    places = _PLACE.findall(TEXT)
    assert len(places) > 80
    assert [place for place in places if not files(place)] == []


def test_the_map_has_a_row_for_each_of_many_behaviours() -> None:
    assert len(rows()) > 60
    assert all(places for _, places, _ in rows())


@pytest.mark.parametrize(
    ("title", "places", "names"), rows(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_names_of_a_row_are_defined_there(title: str, places: list[str], names: list[str]) -> None:
    defined = {name for place in places for path in files(place) for name in definitions(path)}
    assert [name for name in names if name not in defined] == []


def test_every_row_leads_to_modules_and_to_no_package() -> None:
    assert [place for _, places, _ in rows() for place in places if not place.endswith(".py")] == []


def test_only_a_collection_of_functions_has_no_name_to_look_for() -> None:
    assert [title for title, _, names in rows() if not names] == ["its text turned into a value"]


def test_the_paragraph_on_parts_names_a_part() -> None:
    assert "dispatcher_of" in set(definitions(PACKAGE / "dispatch/dispatcher.py"))
    assert "Runtime.part" in set(definitions(PACKAGE / "runtime.py"))
