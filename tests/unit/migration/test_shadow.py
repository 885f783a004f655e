"""Shadow: what would have failed is told, and whatever the proxy does, the legacy mail does not wait for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from celery_mailproxy.dispatch.counters import counters_of
from celery_mailproxy.testing import FakeProxy
from tests.harness.waiting import wait_until

from .migrated_app import Migrated, migrated
from .test_wrapping import task_of

SANDBOX: dict[str, Any] = {"shadow": True, "shadow_tenant": "test-tenant"}


def counted(one: Migrated, name: str) -> int:
    counts: dict[str, int] = counters_of(one.runtime).since(one.runtime.store.clock())
    return counts.get(f"shadow/{name}", 0)


def test_the_shadow_of_a_mail_is_submitted_for_the_sandbox_tenant(proxy: FakeProxy) -> None:
    with migrated(proxy, **SANDBOX) as one:
        assert one.run(task_of(one), 7) == ("SUCCESS", "sent 7")
        wait_until(lambda: counted(one, "passed") == 1)
        assert [(each["id"], each["tenant_id"]) for each in proxy.received] == [("shadow-task-1", "test-tenant")]
        assert one.told == [("mail_queued", "task-1", "legacy"), ("mail_sent", "task-1", "legacy")]


def test_what_the_proxy_cannot_express_is_told_and_sent_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with migrated(shadow=True) as one:
        task = task_of(one, headers={"Resent-Date": "Fri, 31 Jan 2030 09:00:00 +0100"})
        assert one.run(task, 7) == ("SUCCESS", "sent 7")
        wait_until(lambda: any("shadow" in event for event, _ in one.events))
        assert [event for event, _ in one.events if "shadow" in event] == ["mail-shadow-failed"]
        assert counted(one, "failed") == 1
        assert "@example.com" not in caplog.text


def test_a_sandbox_that_is_away_holds_nothing_up(proxy: FakeProxy) -> None:
    with migrated(proxy, **SANDBOX) as one, proxy.down():
        assert one.run(task_of(one), 7) == ("SUCCESS", "sent 7")
        wait_until(lambda: counted(one, "failed") == 1)


@pytest.fixture
def hanging() -> Iterator[Any]:
    """A proxy that takes every connection and never says a word, until it is told to `end`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = {"token": "t", "api": "entities", "tenant_id": "tenant", "account_id": "account"}
        yield SimpleNamespace(url=url, end=server.close, **names)


def test_a_sandbox_that_hangs_delays_neither_the_mail_nor_the_end_of_its_task(hanging: Any) -> None:
    with migrated(hanging, **SANDBOX) as one:
        # Who waited for an answer would do so until the test is given up.
        one.app.conf.mail_proxy_timeout_seconds = 3600
        task = task_of(one)
        for number in range(30):
            assert one.run(task, number, task_id=f"task-{number}") == ("SUCCESS", f"sent {number}")
        # One is under way, twenty wait, and there is no room for the others.
        assert counted(one, "skipped") in (9, 10)
        hanging.end()
        wait_until(lambda: counted(one, "failed") >= 1)
