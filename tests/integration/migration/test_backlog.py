"""What a released django-celery-email still holds is seen by the new side: the drain is not taken out too soon."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.migration.old_side import install_old_side
from examples.migration.processes import Side, Worker
from examples.migration.sink import ShopSink

from ...conftest import required_under_ci
from ...harness.redis_services import RedisServer
from ...harness.services import ServiceMissing
from ...harness.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.long(45)]

TASK = "djcelery_email_send_multiple"


@pytest.fixture
def sides(tmp_path: Path, redis_server: RedisServer) -> Iterator[tuple[Side, Side]]:
    """The old and the new side, with an SMTP server that puts every mail off."""
    with required_under_ci():
        try:
            old_python = str(install_old_side("3.0.0"))
        except RuntimeError as exc:
            raise ServiceMissing(str(exc)) from exc
    redis_server.flush()
    with ShopSink() as sink:
        sink.refuses = True
        environment = {
            "SHOP_FOLDER": str(tmp_path),
            "SHOP_BROKER_URL": redis_server.url,
            "SHOP_SMTP_PORT": str(sink.port),
            "SHOP_PROXY_URL": "http://127.0.0.1:9",
            "SHOP_PROXY_TOKEN": "unused",
            "SHOP_SYNC_TOKEN": "unused",
        }
        old = Side("old", python=old_python, folder=tmp_path, environment=environment)
        new = Side("new", python=sys.executable, folder=tmp_path, environment=environment)
        new.run("django", "migrate", "--verbosity", "0")
        yield old, new


def migration(side: Side) -> tuple[dict[str, Any], Any]:
    """What waits in which queue, and what workers hold."""
    answer = json.loads(side.run("celery", "-A", "shop", "mailproxy", "migration", "--json").splitlines()[-1])
    return answer["queues"], answer["held_by_workers"]


def test_retries_that_an_old_worker_holds_are_seen_and_come_back_when_it_stops(sides: tuple[Side, Side]) -> None:
    old, new = sides
    with Worker(old):
        old.publish(0, 7)
        wait_until(lambda: migration(new) == ({"celery": 0}, {TASK: 7}), lambda: f"seven held, of {migration(new)}")
    assert migration(new) == ({"celery": 7}, None)
