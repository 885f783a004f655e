"""What Celery's own commands print of the settings, run as an operator runs them: none of our secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.services import CeleryWorker, RedisServer
from tests.harness.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
SECRET = "hunter2"


@pytest.fixture(scope="module")
def conf(redis_server: RedisServer) -> dict[str, Any]:
    return {
        "broker_url": redis_server.url,
        "task_default_queue": "shown-settings",
        "mail_proxy_url": "http://127.0.0.1:1",
        "mail_proxy_token": SECRET,
        "mail_proxy_sync_token": {"shop": SECRET, "club": ["new-hunter2", "old-hunter2"]},
        # A worker connects to its store when it needs it, and this one has no mail.
        "mail_proxy_store": f"redis://:{SECRET}@127.0.0.1:1/0",
        "mail_proxy_servers": {"backup": {"url": "http://127.0.0.1:2", "token": SECRET}},
    }


@pytest.fixture(scope="module")
def worker(conf: dict[str, Any]) -> Iterator[CeleryWorker]:
    env = {"TEST_CONF": json.dumps(conf)}
    options = ["--pool", "solo", "-Q", "shown-settings"]
    with CeleryWorker("tests.harness.mail_app", options=options, env=env, name="shown", log_level="DEBUG") as worker:
        yield worker


@pytest.mark.parametrize(
    "command",
    [["report"], ["inspect", "conf"], ["inspect", "--json", "conf"], ["inspect", "report"]],
    ids=" ".join,
)
def test_celerys_commands_show_no_secret(worker: CeleryWorker, conf: dict[str, Any], command: list[str]) -> None:
    timeout = ["--timeout", "20", "-d", f"shown@{os.uname().nodename}"] if command[0] == "inspect" else []
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tests.harness.mail_app", *command[:1], *timeout, *command[1:]],
        env={**os.environ, "TEST_CONF": json.dumps(conf)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert "mail_proxy_sync_token" in done.stdout
    assert "redis://********" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_the_workers_own_log_shows_no_secret(worker: CeleryWorker) -> None:
    assert "ready" in worker.log
    assert SECRET not in worker.log
