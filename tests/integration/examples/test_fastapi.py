"""`examples/fastapi`, run as its docstring says: a worker, uvicorn, and a proxy that reports to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from celery_mailproxy.testing.fake_proxy import FakeProxy
from celery_mailproxy.testing.outcomes import error
from tests.harness.services import CeleryWorker, RedisServer, ServerProcess
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[3] / "examples" / "fastapi"


class Uvicorn(ServerProcess):
    name = "uvicorn"

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__()
        self.env = env

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "invoices:web", "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.env}

    def working_directory(self) -> Path:
        return EXAMPLE


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as proxy:
        yield proxy


@pytest.fixture
def env(proxy: FakeProxy, redis_server: RedisServer, tmp_path: Path) -> dict[str, str]:
    return {
        "CELERY_BROKER_URL": redis_server.url,
        "MAIL_PROXY_URL": proxy.url,
        "MAIL_PROXY_TOKEN": proxy.token,
        "MAIL_PROXY_TENANT": proxy.tenant_id,
        "MAIL_PROXY_ACCOUNT": proxy.account_id,
        "MAIL_PROXY_SYNC_TOKEN": "secret",
        "MAIL_PROXY_STORE": f"sqlite:///{tmp_path}/deliveries.sqlite3",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture
def worker(env: dict[str, str]) -> Iterator[CeleryWorker]:
    with CeleryWorker("invoices", options=["-c", "1"], env=env, cwd=EXAMPLE) as worker:
        yield worker


@pytest.fixture
def web(env: dict[str, str], worker: CeleryWorker, proxy: FakeProxy) -> Iterator[httpx.Client]:
    with Uvicorn(env) as server:
        url = f"http://127.0.0.1:{server.port}"
        proxy.report_to(url, bearer_token="secret")
        with httpx.Client(base_url=url) as client:
            yield client


def wait_for(call: Callable[[], httpx.Response], status: str) -> httpx.Response:
    wait_until(lambda: call().json().get("status") == status, lambda: f"the status {status}: {call().text}")
    return call()


def test_invoice_is_sent_reported_and_its_pdf_handed_out(
    web: httpx.Client, worker: CeleryWorker, proxy: FakeProxy
) -> None:
    proxy.plan("bob@example.com", error("550 no such user"))
    sent, failed = (
        web.post("/invoices/7", params={"customer": f"{name}@example.com"}).json()["message_id"]
        for name in ("ann", "bob")
    )
    assert wait_for(lambda: web.get(f"/mails/{sent}"), "sent").json()["ended_at"]
    assert "550" in wait_for(lambda: web.get(f"/mails/{failed}"), "error").json()["reason"]
    worker.wait_for_log(f"mail {sent} was sent")

    attachment = next(message for message in proxy.received if message["id"] == sent)["attachments"][0]
    # A URL in brackets before it is where the proxy asks.
    question = {"storage_path": attachment["storage_path"].rpartition("]")[2]}
    answer = web.post("/mail-proxy/attachments", json=question, headers={"Authorization": "Bearer secret"})
    assert answer.content == b"%PDF-1.7\n% invoice 7\n"
    assert web.post("/mail-proxy/attachments", json=question).status_code == 401


def test_unknown_mail_is_404(web: httpx.Client) -> None:
    assert web.get("/mails/nothing").status_code == 404
    assert web.get("/health").json() == {"status": "ok"}
