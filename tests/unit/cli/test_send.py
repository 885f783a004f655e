"""`celery mailproxy send`."""

from __future__ import annotations

import json
from pathlib import Path

from celery import Celery

from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error
from tests.unit.cli.shop import SYNC_TOKEN, Run, serving


def test_send_direct_submits_every_part(run: Run, proxy: FakeProxy, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("attached")
    (tmp_path / "body.html").write_text("<p>Hello</p>")
    arguments = ["--to", "ann@example.com", "--to", "bob@example.com", "--cc", "cy@example.com", "--subject", "Hello"]
    files = ["--html-file", str(tmp_path / "body.html"), "--attach", str(tmp_path / "a.txt"), "--body-file", "-"]
    result = run("send", *arguments, *files, "--priority", "high", "--id", "m1", "--direct", input="from stdin")
    assert (result.exit_code, result.stdout) == (0, "m1\n")
    (message,) = proxy.received
    assert message["to"] == ["ann@example.com", "bob@example.com"]
    assert message["cc"] == ["cy@example.com"]
    assert message["priority"] == 1
    assert message["subject"] == "Hello"
    assert {"from stdin", "<p>Hello</p>"} <= {line.strip() for line in message["body"].splitlines()}


def test_send_names_the_option_that_is_wrong(run: Run) -> None:
    result = run("send", "--to", "not an address", "--direct")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: --to[0]: ")
    assert "--send-at: must be a time" in run("send", "--to", "a@example.com", "--send-at", "tomorrow").stderr
    assert "--priority: " in run("send", "--to", "a@example.com", "--priority", "urgent", "--direct").stderr
    both = run("send", "--to", "a@example.com", "--body", "x", "--body-file", "-", input="y")
    assert "--body: cannot be given together" in both.stderr


def test_send_reports_an_unreachable_proxy_in_one_line(run: Run) -> None:
    result = run("send", "--to", "ann@example.com", "--direct")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no connection to the proxy at http://127.0.0.1:1")
    assert len(result.stderr.splitlines()) == 1


def test_send_and_wait_follows_the_mail_to_its_end(run: Run, app: Celery, proxy: FakeProxy) -> None:
    app.conf.mail_proxy_dispatch = "inline"
    with serving(app) as url:
        proxy.report_to(url, bearer_token=SYNC_TOKEN)
        result = run("send", "--to", "ann@example.com", "--direct", "--wait", "--timeout", "180")
        assert result.exit_code == 0, result.output
        # In this order or the other: the report may overtake the answer.
        assert {line.split()[-1] for line in result.stdout.splitlines()[1:]} >= {"sent"}
        proxy.plan("bad@example.com", error("550 no such user"))
        result = run("send", "--to", "bad@example.com", "--direct", "--wait", "--timeout", "180", "--json")
        assert result.exit_code == 1
        assert (answer := json.loads(result.stdout))["status"] == "error"
        assert answer["reason"] == "550 no such user"


def test_send_and_wait_gives_up_in_time(run: Run, proxy: FakeProxy) -> None:
    result = run("send", "--to", "ann@example.com", "--direct", "--wait", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "the email is still queued after 0.2 s" in result.stderr
