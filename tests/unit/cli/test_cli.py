"""The command line itself: its overview, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from celery_mailproxy.cli import _COMMANDS, mailproxy
from tests.harness.waiting import PATIENCE_SECONDS
from tests.unit.cli.shop import Run

COMMANDS = [
    "audit",
    "bounces",
    "cancel",
    "check",
    "dev",
    "forget",
    "migration",
    "pause",
    "prune",
    "receiver",
    "reconcile",
    "replay",
    "resume",
    "run-now",
    "send",
    "setup",
    "share",
    "status",
    "suppressed",
    "tail",
]


def test_the_overview_lists_every_command(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(f"  {command} " in result.output for command in COMMANDS)


def test_the_overview_says_what_each_commands_own_help_begins_with() -> None:
    context = click.Context(mailproxy)
    assert {name: _first_line(mailproxy.get_command(context, name)) for name in COMMANDS} == _COMMANDS


def _first_line(command: click.Command | None) -> str:
    assert command is not None
    assert command.help is not None
    return command.help.splitlines()[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    # One needs no application.
    named = "" if command == "dev" else "-A proj "
    assert f"celery {named}mailproxy {command}" in result.output
    found = mailproxy.get_command(click.Context(mailproxy), command)
    # The commands of a group have it, each for itself.
    parts = [(command, name) for name in found.commands] if isinstance(found, click.Group) else [(command,)]
    assert all("--traceback" in run(*part, "--help").output for part in parts)


def test_a_mistyped_command_is_recognised(run: Run) -> None:
    result = run("chek")
    assert result.exit_code == 2
    assert "check" in result.output


def test_importing_the_plugin_loads_no_command() -> None:
    """Every `celery` command does it, `celery --help` among them."""
    code = (
        "import sys; import celery_mailproxy.cli; from celery.bin.worker import worker\n"
        "heavy = ('celery_mailproxy.cli.', 'celery_mailproxy.tasks', 'celery_mailproxy.runtime', 'httpx', 'rich')\n"
        "loaded = [m for m in sys.modules if m.startswith(heavy)]\n"
        "assert loaded == ['celery_mailproxy.cli.registration'], loaded\n"
        "assert 'mailproxy_listen' in [parameter.name for parameter in worker.params]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)
