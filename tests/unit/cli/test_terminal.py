"""Colours, durations, and text from elsewhere."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from io import StringIO
from typing import Any

import pytest
from celery import Celery
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from celery_mailproxy.cli.terminal import SafeConsole, Terminal, from_seconds, local_time, plain, span
from tests.unit.cli.shop import Run

EARLIEST, LATEST = (moment.replace(tzinfo=timezone.utc) for moment in (datetime.min, datetime.max))  # noqa: DTZ901


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.42, "0.4 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert plain("451 later\n\x1b[2Jgone\x07") == "451 later [2Jgone"


#: What moves the cursor, sets a title, turns the direction of text, or begins a line.
STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egpj\u2028\x85\x7f\u2066\r"


def table(text: str) -> Table:
    table = Table(box=None)
    table.add_column(text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(
    "show",
    [
        lambda terminal, text: terminal.line(text),
        lambda terminal, text: terminal.line(Text(text, "bold")),
        lambda terminal, text: terminal.note(text),
        lambda terminal, text: terminal.error(text),
        lambda terminal, text: terminal.show(text, Panel(text, title=text)),
        lambda terminal, text: terminal.show(table(text)),
        lambda terminal, text: terminal.json({text: text}),
    ],
    ids=["line", "text", "note", "error", "panel", "table", "json"],
)
def test_no_way_of_showing_a_text_lets_it_steer(show: Any, is_terminal: bool) -> None:
    out = StringIO()
    look: dict[str, Any] = {"force_terminal": is_terminal, "no_color": True, "width": 300, "highlight": False}
    terminal = Terminal(out=SafeConsole(file=out, **look), err=SafeConsole(file=out, **look))
    show(terminal, f"before{STEERING}behind")
    shown = out.getvalue()
    # What rich writes itself for bold and dim.
    for own in ("\x1b[1m", "\x1b[2m", "\x1b[0m"):
        shown = shown.replace(own, "")
    assert "before" in shown
    assert shown.replace("\n", "").isprintable()


def test_what_is_shown_as_json_is_what_it_was() -> None:
    out = StringIO()
    terminal = Terminal(out=SafeConsole(file=out), err=SafeConsole(file=out))
    value = {"reason": f"Größe {STEERING}\n\ud800"}
    terminal.json(value)
    assert json.loads(out.getvalue()) == value
    assert out.getvalue().count("\n") == 1
    assert "Größe" in out.getvalue()


@pytest.mark.parametrize("at", [EARLIEST, LATEST])
def test_a_time_that_the_system_cannot_localise_is_shown_in_utc(at: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("Asia/Tokyo", "America/Lima"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        # In one of the two it is a day that Python has no date for.
        assert local_time(at)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("seconds", ["soon", None, 1e300, float("nan"), float("inf"), -1e18, []])
def test_seconds_that_make_no_sense_are_1970(seconds: Any) -> None:
    assert from_seconds(seconds).year == 1970


def test_no_color_is_respected(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    env = {"FORCE_COLOR": "1", "COLUMNS": "80"}
    assert "\x1b[3" in run("check", env=env).stdout
    assert "\x1b[3" not in run("check", env=env, no_color=True).stdout
    assert "\x1b[3" not in run("check", env={**env, "NO_COLOR": "1"}).stdout
