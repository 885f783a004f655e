"""The commands of `celery mailproxy` as an operator runs them, against real proxies and a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from celery import Celery
from celery.bin.base import CLIContext
from click.testing import CliRunner

from celery_mailproxy.cli import mailproxy
from celery_mailproxy.runtime import forget_runtime
from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port
from tests.harness.mail_stack import MODULE, MailStack
from tests.harness.program import Program
from tests.harness.proxy_tenant import ProxyTenant
from tests.harness.services import RedisServer
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.long(160), pytest.mark.full_with("commands")]

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def stack(real_proxy: RealProxy, redis_server: RedisServer, sink: MailSink) -> Iterator[MailStack]:
    tenant = ProxyTenant(proxy=real_proxy, smtp_host=sink.host, smtp_port=sink.port)
    with MailStack(tenant, broker_url=redis_server.url) as stack:
        yield stack


def arguments(*args: str) -> list[str]:
    return ["celery", "-A", MODULE, "mailproxy", *args]


def environment(conf: dict[str, Any]) -> dict[str, str]:
    return {**os.environ, "TEST_CONF": json.dumps(conf), "PYTHONUNBUFFERED": "1"}


def run(conf: dict[str, Any], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments(*args)],
        env=environment(conf),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def check(conf: dict[str, Any], *args: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code and the links by name, of a check in this process."""
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    try:
        context = CLIContext(app=app, no_color=True, workdir=None)
        result = CliRunner().invoke(mailproxy, ["check", "--json", *args], obj=context, catch_exceptions=False)
    finally:
        forget_runtime(app)
        app.close()
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.exit_code == 0)
    return result.exit_code, {link["link"]: link for link in answer["links"]}


def background(conf: dict[str, Any], *args: str) -> Program:
    """A command that runs until it is ended."""
    return Program(arguments(*args), environment=environment(conf))


def test_check_of_a_sound_installation_finds_every_link_in_order(stack: MailStack, sink: MailSink) -> None:
    address = f"check-{stack.tenant.proxy.api}@example.com"
    result = run(stack.conf, "check", "--send-to", address, "--timeout", "180")
    assert result.returncode == 0, result.stdout + result.stderr
    outcomes = {line.split()[0] for line in result.stdout.splitlines() if not line.startswith(("Sending", " "))}
    # 0.5.0 does not tell whether it is active, and SQLite has no clock but this machine's.
    assert outcomes - {"17", "18"} == {"ok", "skipped"}
    assert "through broker and worker; sent and reported" in result.stdout
    (mail,) = sink.mails_to(address)
    assert mail.message["Subject"] == "celery-mailproxy check"
    for secret in (stack.tenant.proxy.token, stack.tenant.sync_token):
        assert secret not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("conf", "link", "words"),
    [
        ({"mail_proxy_token": "wrong"}, "token", "Set mail_proxy_token to the proxy's API token"),
        ({"mail_proxy_tenant": "nobody"}, "tenant", "or correct mail_proxy_tenant"),
        ({"mail_proxy_account": "nothing"}, "account", "Set mail_proxy_account to one that it has"),
        ({"mail_proxy_sync_token": "another"}, "callback", "has another mail_proxy_sync_token"),
        ({"mail_proxy_sync_token": "another"}, "callback token", "with the token in mail_proxy_sync_token"),
        ({"mail_proxy_url": "http://127.0.0.1:1"}, "proxy", "Start the proxy, or correct mail_proxy_url"),
        ({"mail_proxy_store": "sqlite:////dev/null/x.sqlite3"}, "store", ""),
    ],
)
def test_check_finds_the_wrong_setting(stack: MailStack, conf: dict[str, Any], link: str, words: str) -> None:
    # Eager: so that the workers, which are in order, are not waited for.
    exit_code, links = check({**stack.conf, "task_always_eager": True, **conf})
    assert exit_code == 1
    assert links[link]["outcome"] == "failed"
    assert words in links[link].get("remedy", "")


@pytest.mark.parametrize(
    ("tenant", "link", "words"),
    [
        ({"sync_path": "/wrong"}, "callback", "set the tenant's client_sync_path"),
        ({"url": "http://127.0.0.1:1"}, "callback", "Start the receiver"),
        ({"url": None}, "callback URL", "Set the tenant's client_base_url"),
        ({"active": False}, "tenant", "Activate it on the proxy"),
    ],
)
def test_check_finds_what_is_wrong_with_the_tenant(
    stack: MailStack, tenant: dict[str, Any], link: str, words: str
) -> None:
    right = f"http://127.0.0.1:{stack.port}"
    # 0.5.0 keeps what is not given anew.
    base = {"sync_path": "/mail-proxy/sync", "active": True}
    wrong = {**base, **tenant}
    stack.tenant.add(wrong.pop("url", right), **wrong)
    try:
        exit_code, links = check({**stack.conf, "task_always_eager": True})
    finally:
        stack.tenant.add(right, **base)
    assert exit_code == 1
    assert links[link]["outcome"] == "failed", links
    assert words in links[link]["remedy"]


def test_check_finds_a_queue_that_nobody_takes_and_a_broker_that_is_down(stack: MailStack) -> None:
    exit_code, links = check({**stack.conf, "task_default_queue": "nobodys"})
    assert exit_code == 1
    assert "none takes tasks from nobodys" in links["workers"]["found"]
    assert "-Q nobodys" in links["workers"]["remedy"]
    exit_code, links = check({**stack.conf, "broker_url": f"redis://:hunter2@127.0.0.1:{free_port()}/0"})
    assert exit_code == 1
    assert links["broker"]["remedy"] == "Start the broker, or correct broker_url."
    assert links["workers"]["outcome"] == "skipped"
    assert "hunter2" not in str(links)


def test_check_tells_where_a_mail_is_stuck(stack: MailStack) -> None:
    exit_code, links = check(stack.conf, "--send-to", "later@example.com", "--timeout", "3")
    assert exit_code == 1
    trip = links["round trip"]
    if stack.tenant.proxy.api == "commands":
        # This API does not report it: only the proxy's list of messages has it.
        assert "the proxy has deferred it until" in trip["found"]
    else:
        assert trip["found"].startswith("deferred after ")
        assert "451" in trip["found"]
    assert "SMTP account" in trip["remedy"]


def test_a_mail_is_sent_followed_and_looked_up(stack: MailStack, sink: MailSink) -> None:
    message_id = f"cli-{uuid4()}"
    address = f"{message_id}@example.com"
    arguments = ["--to", address, "--subject", "Grüße", "--body", "Hallo", "--id", message_id]
    sent = run(stack.conf, "send", *arguments, "--wait", "--timeout", "180")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert sent.stdout.splitlines()[0] == message_id
    assert [mail.message["Subject"] for mail in sink.mails_to(address)] == ["Grüße"]
    status = json.loads(run(stack.conf, "status", message_id, "--json").stdout)
    assert status["status"] == "sent"
    assert status["task_id"] == message_id
    assert {entry["kind"] for entry in status["history"]} == {"queued", "sent"}
    refused = run(stack.conf, "send", "--to", "spam@example.com", "--wait", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["status"] == "error"


def test_tail_shows_events_as_they_come_and_ends_at_ctrl_c(stack: MailStack, tmp_path: Path) -> None:
    with background(stack.conf, "tail", "--json", "--status", "sent") as tail:
        tail.wait_for("Listening for mail events on redis://")
        ids: list[str] = []

        def sent_and_shown() -> list[str]:
            """It says that it listens shortly before it does: one more is sent until one is shown."""
            ids.append(stack.send(to=["tailed@example.com"], callbacks=False).id)
            return [line for line in tail.log.splitlines() if line.startswith("{") and line.endswith("}")]

        lines = wait_until(sent_and_shown, "an event", pause_seconds=1)
        event = json.loads(lines[0])
        assert event["message_id"] in ids
        assert (event["kind"], event["status"]) == ("sent", "sent")
        assert tail.end() == 0


def test_tail_comes_back_when_the_broker_does(tmp_path: Path) -> None:
    with RedisServer() as redis:
        conf = {"broker_url": redis.url, "mail_proxy_events": False}
        with background(conf, "tail") as tail:
            tail.wait_for("Listening for mail events")
            assert "mail_proxy_events is False" in tail.log
            redis.kill()
            tail.wait_for("trying again in")
            redis.start()
            tail.wait_for("Listening for mail events", times=2)
            assert tail.end() == 0


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_down_is_waited_for_by_tail_and_an_error_for_send(scheme: str, tmp_path: Path) -> None:
    conf = {
        "broker_url": f"{scheme}://user:hunter2@127.0.0.1:{free_port()}//",
        "mail_proxy_url": "http://127.0.0.1:1",
        "mail_proxy_from_email": "shop@example.com",
    }
    with background(conf, "tail") as tail:
        shown = tail.wait_for("trying again in", times=2)
        assert tail.end() == 0
    result = run(conf, "send", "--to", "ann@example.com")
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("Error: the broker cannot be reached: ")
    assert "hunter2" not in line + shown


def test_receiver_serves_until_it_is_told_to_end(stack: MailStack, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mail-proxy/sync"
    with background(stack.conf, "receiver", "--listen", f"127.0.0.1:{port}") as receiver:
        receiver.wait_for(f"Receiving delivery reports at {url}")
        headers = {"Authorization": f"Bearer {stack.tenant.sync_token}"}
        answer = httpx.post(url, json={"delivery_report": []}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["ok"]) == (200, True)
        assert receiver.end(signal.SIGTERM) == 0
    result = run(stack.conf, "receiver", "--listen", f"127.0.0.1:{stack.port}")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "in use" in result.stderr
