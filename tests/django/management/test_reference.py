"""`docs/reference/django.md` names every management command, and each of its own options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/django.md").read_text()
APPS = ("celery_mailproxy.django", "celery_mailproxy.django.drain")


def commands() -> dict[str, str]:
    """Name → app."""
    folders = [(app, ROOT / app.replace(".", "/") / "management/commands") for app in APPS]
    return {path.stem: app for app, folder in folders for path in folder.glob("mailproxy_*.py")}


def options_of(command: BaseCommand) -> set[str]:
    """Its own long options, without those that every command has."""
    parsers = command.create_parser("manage.py", "x"), BaseCommand().create_parser("manage.py", "x")
    own, common = ({text for action in each._actions for text in action.option_strings} for each in parsers)
    return {text for text in own - common if text.startswith("--")}


def section(name: str) -> str:
    match = re.search(rf"^### {name}\n(.*?)(?=^#{{1,3}} )", PAGE, re.M | re.S)
    assert match, name
    return match[1]


def test_every_command_is_in_the_table_and_has_a_section() -> None:
    assert len(commands()) >= 5
    assert set(re.findall(r"^\| \[`(mailproxy_\w+)`\]\(#\1\) \|", PAGE, re.M)) == commands().keys()
    assert set(re.findall(r"^### (mailproxy_\w+)$", PAGE, re.M)) == commands().keys()


@pytest.mark.parametrize(("name", "app"), list(commands().items()))
def test_the_section_names_exactly_the_options_of(name: str, app: str) -> None:
    cells = re.findall(r"^\| (`--.*?) \|", section(name), re.M)
    named = {option for cell in cells for option in re.findall(r"--[a-z][a-z-]*", cell)}
    assert named == options_of(load_command_class(app, name))


@pytest.mark.parametrize("name", list(commands()))
def test_the_section_shows_a_call_of(name: str) -> None:
    assert f"$ python manage.py {name}" in section(name)
