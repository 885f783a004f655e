"""Canaries: what the commands depend on in Celery and kombu, and neither promises."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from celery import Celery
from celery.bin.base import LOG_LEVEL
from celery.bin.celery import celery
from click.testing import CliRunner
from kombu import Connection

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.cli.command import shown_url
from tests.harness.waiting import PATIENCE_SECONDS


def test_celery_still_finds_commands_by_their_entry_point() -> None:
    assert celery.commands["mailproxy"] is mailproxy


def test_celery_still_hands_a_command_its_app_and_what_was_asked_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "canary_shop.py").write_text("import celery; app = celery.Celery('shop', set_as_current=False)")
    monkeypatch.syspath_prepend(tmp_path)
    seen: dict[str, Any] = {}

    @click.command("canary")
    @click.pass_context
    def canary(ctx: click.Context) -> None:
        seen.update(app=ctx.obj.app.main, no_color=ctx.obj.no_color, named=ctx.find_root().params["app"])

    monkeypatch.setitem(celery.commands, "canary", canary)
    CliRunner().invoke(celery, ["-A", "canary_shop", "--no-color", "canary"], catch_exceptions=False)
    # Celery 5.3 has the app itself there, and a hint of ours then says `proj`.
    assert seen["named"] == "canary_shop" or isinstance(seen["named"], Celery)
    assert (seen["app"], seen["no_color"]) == ("shop", True)


def test_celery_still_reads_log_levels_by_name() -> None:
    assert LOG_LEVEL.convert("info", None, None) == logging.INFO


def test_celery_still_calls_the_app_that_nobody_made_default() -> None:
    # In a process of its own: here, other tests have made apps.
    code = "from celery import current_app; assert current_app.main == 'default', current_app.main"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_SECONDS)


def test_kombu_still_asks_a_consumers_broker_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Connection, "ensure_connection", lambda self, errback, retries, **_: asked.append(retries))
    app = Celery("shop", set_as_current=False, broker="memory://")
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, app=app)
        assert receiver.connect_max_retries is None
        receiver.connect_max_retries = 1
        with receiver.establish_connection():
            assert asked == [1]


def test_kombu_still_masks_a_password_that_is_not_there_like_this() -> None:
    # Old ones do not mask it.
    assert Connection("memory://").as_uri() in ("memory://:**@localhost//", "memory://localhost//")
    assert shown_url(Connection("memory://")).startswith("memory://localhost")


def test_kombu_still_masks_a_password() -> None:
    assert shown_url(Connection("amqp://shop:hunter2@rabbit:5672/")).startswith("amqp://shop:**@rabbit:5672/")
