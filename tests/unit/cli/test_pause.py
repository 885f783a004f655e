"""`celery mailproxy pause`, `resume` and `run-now`."""

from __future__ import annotations

import json

from celery_mailproxy.testing import FakeProxy
from tests.unit.cli.shop import Run


def test_a_batch_is_paused_and_resumed(run: Run, proxy: FakeProxy) -> None:
    what = f"batch spring of tenant {proxy.tenant_id}"
    assert run("pause", "--batch", "spring").stdout == f"{what}: paused, 0 emails pending at the proxy\n"
    assert run("resume", "--batch", "spring").stdout == f"{what}: not paused, 0 emails pending at the proxy\n"


def test_programs_get_an_object(run: Run, proxy: FakeProxy) -> None:
    tenant = {"tenant_id": proxy.tenant_id, "batch_code": None, "pending": 0}
    assert json.loads(run("pause", "--json").stdout) == {**tenant, "is_paused": True, "paused": ["*"]}
    assert json.loads(run("resume", "--json").stdout) == {**tenant, "is_paused": False, "paused": []}


def test_what_the_proxy_refuses_fails(run: Run, proxy: FakeProxy) -> None:
    result = run("pause", "--tenant", "nobody")
    assert result.exit_code == 1
    assert "not found" in result.stderr


def test_the_proxy_is_woken(run: Run, proxy: FakeProxy) -> None:
    assert run("run-now").stdout == "The proxy looks for what is to be sent and reported.\n"
    assert proxy.requests[-1].path == "/instance/run_now"
