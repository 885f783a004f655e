"""Colours, durations, and text from elsewhere."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_mailproxy.cli.terminal import plain, span
from tests.unit.cli.shop import Run


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0 s"), (0.42, "0.4 s"), (12, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3600, "1 h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert plain("451 later\n\x1b[2Jgone\x07") == "451 later [2Jgone"


def test_no_color_is_respected(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    env = {"FORCE_COLOR": "1", "COLUMNS": "80"}
    assert "\x1b[3" in run("check", env=env).stdout
    assert "\x1b[3" not in run("check", env=env, no_color=True).stdout
    assert "\x1b[3" not in run("check", env={**env, "NO_COLOR": "1"}).stdout
