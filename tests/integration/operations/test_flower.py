"""A real Flower shows a task that waits for its mail as QUEUED, DEFERRED, and then as ended."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from celery_mailproxy.testing import FakeProxy

from ...harness.mail_stack import MODULE, MailStack
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import RedisServer, ServerProcess
from ...harness.waiting import PATIENCE_SECONDS

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        importlib.util.find_spec("flower") is None and os.environ.get("CI", "").lower() not in ("1", "true"),
        reason="flower is not installed",
    ),
]


class Flower(ServerProcess):
    """Flower without the project: it lives from the broker's events alone."""

    name = "flower"

    def __init__(self, broker_url: str) -> None:
        super().__init__()
        self._broker_url = broker_url
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_SECONDS, trust_env=False)

    def command(self) -> list[str]:
        listen = ["--address=127.0.0.1", f"--port={self.port}"]
        return [sys.executable, "-m", "celery", "--broker", self._broker_url, "flower", *listen]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/healthcheck").status_code == 200
        return False

    def close(self) -> None:
        self.http.close()
        super().close()

    def state(self, task_id: str) -> Any:
        """The task's state; None while Flower does not know it."""
        answer = self.http.get(f"/api/task/info/{task_id}")
        return answer.json()["state"] if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer) -> Iterator[MailStack]:
    with FakeProxy("entities") as proxy:
        proxy.plan(lambda message: True)
        tenant = ProxyTenant(proxy=proxy)
        conf = {"result_backend": redis_server.url_of(9)}
        # Events go to all who listen on a database: none of another test's.
        with MailStack(tenant, broker_url=redis_server.url_of(8), conf=conf, options=("-E",)) as stack:
            yield stack


@pytest.fixture(scope="module")
def flower(stack: MailStack) -> Iterator[Flower]:
    with Flower(stack.conf["broker_url"]) as flower:
        # It serves before it listens to events: wait until it has heard the worker's heartbeat.
        def knows_the_worker() -> bool:
            return bool(flower.http.get("/api/workers").json())

        stack.wait_until(knows_the_worker, what="the worker, in Flower")
        yield flower


@pytest.mark.parametrize("end", ["SUCCESS", "FAILURE"])
def test_flower_shows_each_state_of_a_mail(stack: MailStack, flower: Flower, end: str) -> None:
    task = stack.app.tasks["celery_mailproxy.deliver_via_proxy"]
    result = task.delay(to=["ann@example.com"], subject="S", body="B")

    def wait_shown(state: str) -> None:
        stack.wait_until(lambda: flower.state(result.id) == state, what=f"{state} in Flower, not {result.state}")

    wait_shown("QUEUED")
    now = int(time.time())
    stack.post_reports({"id": result.id, "deferred_ts": now, "deferred_reason": "451 later"})
    wait_shown("DEFERRED")
    stack.post_reports(
        {"id": result.id, **({"sent_ts": now} if end == "SUCCESS" else {"error_ts": now, "error": "no"})}
    )
    wait_shown(end)
    stack.drain()
    # Events come in order: once Flower knows of a later task's end, it knows all of this one.
    later = stack.app.signature(f"{MODULE}.add").apply_async()
    stack.wait_until(lambda: flower.state(later.id) == "SUCCESS", what="a later task, in Flower")
    assert flower.state(result.id) == end
    tasks = flower.http.get("/api/tasks").json()
    assert tasks[result.id]["state"] == end
    # The states in between are told in the name of the worker that ran the task.
    assert {each["worker"] for each in tasks.values()} == {tasks[result.id]["worker"]} == {stack.worker.node}
