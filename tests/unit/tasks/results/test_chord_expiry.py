"""Chords that would be forgotten before their mails end."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.results.chord_expiry import short_chord_life, warn_of_short_chords

MONTH = 30 * 86400.0


def make_app(**conf: Any) -> Celery:
    app = Celery("expiry", set_as_current=False)
    app.conf.update(conf)
    return app


@pytest.mark.parametrize(
    "conf",
    [
        {"result_expires": None},
        {"result_expires": 0},
        {"result_expires": timedelta(days=31)},
        {"result_chord_expires": MONTH},
        {"result_chord_expires": 0},
    ],
)
def test_a_chord_that_is_remembered_long_enough_is_fine(conf: dict[str, Any]) -> None:
    assert short_chord_life(make_app(**conf), MONTH) is None


def test_celerys_default_is_too_short_and_both_settings_are_named() -> None:
    problem = short_chord_life(make_app(), MONTH)
    assert problem is not None
    assert problem.startswith("result_expires is 1 day, but the end of an email may be awaited for 30 days (")
    assert "result_chord_expires" in problem


def test_the_chords_own_setting_counts_before_the_general_one() -> None:
    problem = short_chord_life(make_app(result_expires=None, result_chord_expires=3600), MONTH)
    assert problem is not None
    assert problem.startswith("result_chord_expires is 1 hour, ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 seconds"), (90, "1.5 minutes"), (5400, "1.5 hours"), (86400 * 45, "45 days")]
)
def test_a_duration_is_readable(seconds: float, text: str) -> None:
    problem = short_chord_life(make_app(result_expires=seconds), 60 * 86400.0)
    assert problem is not None
    assert problem.startswith(f"result_expires is {text}, ")


def test_it_is_said_once_for_an_app(caplog: pytest.LogCaptureFixture) -> None:
    app = make_app()
    with caplog.at_level(logging.WARNING, logger="celery_mailproxy"):
        warn_of_short_chords(get_runtime(app))
        warn_of_short_chords(get_runtime(app))
    assert len(caplog.records) == 1
