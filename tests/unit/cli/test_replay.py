"""`celery mailproxy replay`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.dispatch.dispatcher import dispatcher_of
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.runtime import get_runtime
from tests.unit.cli.shop import Run, report


@pytest.fixture
def failing_handler(app: Celery) -> Iterator[list[bool]]:
    """A handler of `mail_sent` that raises until told otherwise."""
    is_fixed: list[bool] = []

    def handler(**kwargs: Any) -> None:
        if not is_fixed:
            raise RuntimeError("not yet")

    mail_sent.connect(handler, weak=False, dispatch_uid="test-cli")
    yield is_fixed
    mail_sent.disconnect(handler, dispatch_uid="test-cli")


def test_replay_runs_failed_handlers_until_they_succeed(
    run: Run, app: Celery, remember: Callable[..., Delivery], failing_handler: list[bool]
) -> None:
    remember("m1")
    dispatcher_of(get_runtime(app)).dispatch([report(Kind.SENT)])
    result = run("replay", "--all")
    assert result.exit_code == 1
    assert "m1  1 failed again, 0 succeeded" in result.stdout
    failing_handler.append(True)
    assert run("replay", "m1").stdout == "m1  1 succeeded\n"
    assert run("replay", "--all").stdout == "No handler has failed.\n"


def test_replay_of_an_unknown_message_fails(run: Run) -> None:
    result = run("replay", "nobody")
    assert result.exit_code == 1
    assert "unknown message" in result.stdout


@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1", "COLUMNS": "200"}])
def test_replay_shows_what_it_was_given_without_letting_it_steer(run: Run, env: dict[str, str]) -> None:
    result = run("replay", "m1\x1b]0;title\x07\x9b2J\u202e", "m2\nm3  1 succeeded", env=env)
    assert "m1" in result.stdout
    assert "\x1b]" not in result.stdout
    assert not any(char in result.stdout for char in "\x07\x9b\u202e")
    assert "\nm3" not in result.stdout


def test_replay_wants_ids_or_all(run: Run) -> None:
    assert run("replay").exit_code == 2
    assert run("replay", "m1", "--all").exit_code == 2
