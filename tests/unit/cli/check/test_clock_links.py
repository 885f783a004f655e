"""The link of the clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from celery import Celery

from celery_mailproxy.cli.check.clock_links import check_clock
from celery_mailproxy.cli.check.links import Link, Outcome
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.runtime import get_runtime

NOW = utcnow()


def look(app: Celery, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float | None, way_seconds: float = 0) -> Link:
    """This machine is so far ahead of the store, and each way to it takes so long."""
    moments = iter([NOW, NOW + timedelta(seconds=2 * way_seconds)])
    runtime = get_runtime(app)
    there = None if ahead_seconds is None else NOW + timedelta(seconds=way_seconds - ahead_seconds)
    monkeypatch.setattr(type(runtime.store), "server_time", lambda store: there)
    return check_clock(runtime, clock=lambda: next(moments))


@pytest.mark.parametrize(("ahead_seconds", "way_seconds"), [(0, 0), (4.9, 0), (-4.9, 0), (0, 30), (6, 2), (-6, 2)])
def test_clocks_that_may_agree_are_fine(
    app: Celery, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float, way_seconds: float
) -> None:
    link = look(app, monkeypatch, ahead_seconds, way_seconds)
    assert (link.outcome, link.found) == (Outcome.OK, "within 5 s of the store's")


@pytest.mark.parametrize(
    ("ahead_seconds", "found"),
    [(20, "this machine is 20 s ahead of the store"), (-3600, "this machine is 3,600 s behind the store")],
)
def test_a_clock_that_is_off_is_worth_a_look(
    app: Celery, monkeypatch: pytest.MonkeyPatch, ahead_seconds: float, found: str
) -> None:
    link = look(app, monkeypatch, ahead_seconds)
    assert (link.outcome, link.found) == (Outcome.WARNING, found)
    assert "NTP" in (link.remedy or "")


def test_a_store_without_a_clock_is_passed_over(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    assert look(app, monkeypatch, None).outcome is Outcome.SKIPPED
