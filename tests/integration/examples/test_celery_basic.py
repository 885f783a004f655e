"""What the documentation shows, run as its reader would: the quick starts, the calls of curl, examples/celery_basic."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port

from ...harness.program import Program
from ...harness.proxy_tenant import ProxyTenant
from ...harness.services import CeleryWorker, RedisServer
from ...harness.shown_tests import assert_shown_tests_pass
from ...harness.waiting import PATIENCE_SECONDS
from .running import environment, run, running_worker

pytestmark = [pytest.mark.integration, pytest.mark.long(85), pytest.mark.full_with("commands")]

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples/celery_basic"


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language, dedented."""
    text = (ROOT / page).read_text()
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def test_the_quick_start_of_the_readme_works(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, tmp_path: Path
) -> None:
    code = blocks("README.md", "python")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "shop.py").write_text(code)
    env = environment(tenant, redis_server, tmp_path)
    console = "".join(blocks("README.md", "console"))
    (call,) = re.findall(r'^\$ python -c "(.*)"$', console, re.MULTILINE)
    with running_worker(tenant, "shop", cwd=tmp_path, env=env, redis_server=redis_server) as worker:
        run("-c", call, cwd=tmp_path, env=env)
        worker.wait_for_log(r"order 7 is on its way: its mail was sent")
        (mail,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
        assert mail.rcpt_to == ("ann@example.com",)
        assert mail.message["Subject"] == "Order 7"


def test_the_tutorial_works(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, tmp_path: Path
) -> None:
    (code,) = blocks("docs/tutorial/quick-start.md", "python")
    (tmp_path / "shop.py").write_text(code)
    env = environment(tenant, redis_server, tmp_path)
    console = "".join(blocks("docs/tutorial/quick-start.md", "console"))
    (call,) = re.findall(r'^\$ python -c "(.*)"$', console, re.MULTILINE)
    with running_worker(tenant, "shop", cwd=tmp_path, env=env, redis_server=redis_server) as worker:
        message_id = run("-c", call, cwd=tmp_path, env=env).strip()
        worker.wait_for_log(r"order 7 is on its way: its mail was sent")
        mailproxy = ("-m", "celery", "-A", "shop", "mailproxy")
        status = run(*mailproxy, "status", message_id, "--json", cwd=tmp_path, env=env)
        assert '"status": "sent"' in status
        assert '"ok": true' in run(*mailproxy, "check", "--json", cwd=tmp_path, env=env)
        run("-c", call.replace("ann@", "spam@"), cwd=tmp_path, env=env)
        worker.wait_for_log(r"mail \S+ was given up")


def test_the_servers_of_the_tutorial_take_its_calls_of_curl_and_its_mail(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """`celery mailproxy dev`, the exports, the calls of curl, a worker and a mail: as written, but for the ports."""
    page = "docs/tutorial/quick-start.md"
    ports = {number: str(free_port()) for number in ("8000", "1025", "9100")}

    def moved(text: str) -> str:
        return re.sub(r"\b(?:8000|1025|9100)\b", lambda match: ports[match[0]], text)

    (tmp_path / "shop.py").write_text(blocks(page, "python")[0])
    console = "".join(blocks(page, "console"))
    exports = "\n".join(re.findall(r"^\$ (export .*)$", console, re.MULTILINE))
    script = moved(f"{exports}\n{''.join(blocks(page, 'bash'))}\nenv -0 > env")
    command = ["celery", "mailproxy", "dev", "--port", ports["8000"], "--smtp-port", ports["1025"]]
    command += ["--callback-url", moved("http://localhost:9100")]
    with Program(command, environment=os.environ) as servers:
        servers.wait_for("Press Ctrl-C")
        (shown,) = [block for block in blocks(page, "text") if block.startswith("genro-mail-proxy at")]
        assert moved(shown) in servers.log
        done = subprocess.run(
            ["bash", "-euc", script],
            cwd=tmp_path,
            text=True,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        exported = dict(pair.split("=", 1) for pair in (tmp_path / "env").read_text().split("\0") if pair)
        env = {name: value for name, value in exported.items() if name.startswith("MAIL_PROXY_")}
        env |= {"CELERY_BROKER_URL": redis_server.url_of(5), "PYTHONPATH": str(tmp_path)}
        (call,) = re.findall(r'^\$ python -c "(.*)"$', console, re.MULTILINE)
        options = ["--concurrency", "2", "--mailproxy-listen", f"localhost:{ports['9100']}"]
        with redis_server.client(5) as client:
            client.flushdb()
        with CeleryWorker("shop", options=options, env=env, cwd=tmp_path, name="quick-start") as worker:
            run("-c", call, cwd=tmp_path, env=env)
            worker.wait_for_log(r"order 7 is on its way: its mail was sent")
        servers.wait_for("to ann@example.com  Your order 7")
        assert servers.end() == 0


def test_the_guide_to_testing_shows_a_test_on_the_real_proxy_that_passes(tmp_path: Path) -> None:
    (code,) = [each for each in blocks("docs/how-to/testing.md", "python") if "RealProxy" in each]
    assert_shown_tests_pass([code], tmp_path)


def test_the_calls_of_curl_set_a_tenant_up(real_proxy: RealProxy) -> None:
    page = "docs/how-to/receiving.md"
    entities, commands = blocks(page, "bash")
    assert blocks("docs/tutorial/quick-start.md", "bash") == blocks("README.md", "bash") == [entities]
    suffix = uuid.uuid4().hex[:8]
    script = {"entities": entities, "commands": commands}[real_proxy.api].replace('"shop"', f'"shop-{suffix}"')
    env = {**os.environ, "MAIL_PROXY_URL": real_proxy.url, "MAIL_PROXY_TOKEN": real_proxy.token}
    env["MAIL_PROXY_SYNC_TOKEN"] = "a-token"
    done = subprocess.run(
        ["bash", "-euc", script], env=env, text=True, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    headers = {"X-API-Token": real_proxy.token}
    path = {"entities": "/tenants/get", "commands": f"/tenant/shop-{suffix}"}[real_proxy.api]
    with httpx.Client(base_url=real_proxy.url, headers=headers, trust_env=False) as client:
        tenant = client.get(path, params={"tenant_id": f"shop-{suffix}"}).raise_for_status().json()
    assert tenant["client_base_url"] == "http://localhost:9100"
    assert tenant["client_auth"]["method"] == "bearer"


def test_the_example_fires_its_handlers_and_its_chained_tasks(
    tenant: ProxyTenant, mail_sink: MailSink, redis_server: RedisServer, tmp_path: Path
) -> None:
    env = environment(tenant, redis_server, tmp_path)
    with running_worker(tenant, "shop", cwd=EXAMPLE, env=env, redis_server=redis_server) as worker:
        output = run("-m", "shop.place_order", "7", "ann@example.com", cwd=EXAMPLE, env=env)
        message_id = output.split()[1]
        worker.wait_for_log(rf"mail {message_id} was sent after")
        worker.wait_for_log(r"order 7 is on its way: its confirmation was sent at")
        (mail,) = mail_sink.wait_for(1, timeout_seconds=PATIENCE_SECONDS)
        assert mail.message["Subject"] == "Your order 7"
        parts = [part.get_content_type() for part in mail.message.walk()]
        assert parts == ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/plain"]
        run("-m", "shop.place_order", "8", "spam@example.com", cwd=EXAMPLE, env=env)
        worker.wait_for_log(r"order 8 waits for a call: its confirmation ended as error")
        assert len(re.findall("order 7 is on its way", worker.log)) == 1
        assert "example.com" not in worker.log
