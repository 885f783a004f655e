"""The import contracts in `pyproject.toml` leave no package out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from importlinter.api import read_configuration

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "celery_mailproxy"


def contracts() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    return found


def packages_of_several_modules() -> set[str]:
    """Each package with an order to hold; Django's migrations have names that say theirs."""
    found = set()
    for folder in [PACKAGE, *(path.parent for path in PACKAGE.rglob("*/__init__.py"))]:
        modules = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        if len(modules - {"__init__", "_version"}) > 1 and folder.name != "migrations":
            found.add(".".join(folder.relative_to(ROOT).parts))
    return found


def test_every_package_of_several_modules_has_an_exhaustive_contract_of_its_layers() -> None:
    held = {name for each in contracts() if each.get("exhaustive") for name in each.get("containers", ())}
    packages = packages_of_several_modules()
    assert len(packages) > 20
    assert packages - held == set()
