"""An example run as its reader would: what the pages export, a worker, and commands beside it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from celery_mailproxy.testing.ports import free_port

from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import CeleryWorker, RedisServer
from ...harness.waiting import PATIENCE_SECONDS

__all__ = ["environment", "run", "running_worker"]


def environment(tenant: ProxyTenant, redis_server: RedisServer, folder: Path) -> dict[str, str]:
    """What the pages export, and a broker, queue and store of the test's own."""
    return {
        "CELERY_BROKER_URL": redis_server.url_of(5),
        "MAIL_PROXY_URL": tenant.proxy.url,
        "MAIL_PROXY_TOKEN": tenant.proxy.token,
        "MAIL_PROXY_TENANT": tenant.id,
        "MAIL_PROXY_ACCOUNT": tenant.account_id,
        "MAIL_PROXY_SYNC_TOKEN": tenant.sync_token,
        "MAIL_PROXY_STORE": f"sqlite:///{folder}/deliveries.sqlite3",
        # Before whatever else is called shop.
        "PYTHONPATH": str(folder),
    }


@contextlib.contextmanager
def running_worker(
    tenant: ProxyTenant, app: str, *, cwd: Path, env: dict[str, str], redis_server: RedisServer
) -> Iterator[CeleryWorker]:
    """The worker of the page, with its listener on a free port, to which the tenant reports."""
    with redis_server.client(5) as client:
        client.flushdb()
    port = free_port()
    options = ["--concurrency", "2", "--mailproxy-listen", f"localhost:{port}"]
    with CeleryWorker(app, options=options, env=env, cwd=cwd, name=f"example-{uuid.uuid4().hex[:6]}") as worker:
        tenant.add(f"http://localhost:{port}")
        yield worker


def run(*command: str, cwd: Path, env: dict[str, str]) -> str:
    """The output of `python …` beside the worker."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **env},
        text=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
