"""`celery mailproxy setup`: tenant and account come to be as they are wanted, and stay so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from celery_mailproxy.testing import FakeProxy
from tests.unit.cli.shop import SYNC_TOKEN, Run

CALLBACK = "http://worker.internal:9100"


@pytest.fixture
def fresh(app: Celery) -> Iterator[FakeProxy]:
    """A proxy that knows nobody, which the application is for."""
    with FakeProxy("entities") as proxy:
        app.conf.update(mail_proxy_url=proxy.url, mail_proxy_token=proxy.token)
        yield proxy


def test_tenant_and_account_are_created_and_a_second_run_changes_nothing(
    run: Run, fresh: FakeProxy, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    smtp = ["--smtp-host", "smtp.example.com", "--smtp-port", "587", "--use-tls", "--smtp-user", "shop"]
    arguments = ["--callback-url", CALLBACK, *smtp, "--smtp-password-file", str(tmp_path / "password")]
    dry = run("setup", *arguments, "--dry-run")
    assert (dry.exit_code, "Nothing was written" in dry.output) == (0, True), dry.output
    assert run("setup", "--dry-run", "--callback-url", CALLBACK).exit_code == 1, "there is no account yet"
    done = run("setup", *arguments)
    assert done.exit_code == 0, done.output
    assert "s3cret" not in done.output
    assert SYNC_TOKEN not in done.output
    again = run("setup", "--json")
    assert again.exit_code == 0, again.output
    answer = json.loads(again.stdout)
    assert (answer["changes"], answer["notes"]) == (0, [])
    wanted = {(row["subject"], row["field"]): row["now"] for row in answer["rows"]}
    assert wanted["tenant", "client_base_url"] == CALLBACK
    assert wanted["account", "host"] == "smtp.example.com"
    assert wanted["account", "port"] == "587"


@pytest.mark.parametrize("path", ["/mail-proxy/sync", "/mail-proxy/sync/", "/mail-proxy/attachments"])
def test_a_callback_url_may_be_that_of_the_reports(run: Run, fresh: FakeProxy, path: str) -> None:
    done = run("setup", "--callback-url", CALLBACK + path, "--smtp-host", "smtp.example.com", "--json")
    assert done.exit_code == 0, done.output
    rows = {row["field"]: row["wanted"] for row in json.loads(done.stdout)["rows"] if row["subject"] == "tenant"}
    assert rows["client_base_url"] == CALLBACK
    assert rows["client_sync_path"] == "/mail-proxy/sync"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the address of the receiver must be given"),
        (["--callback-url", CALLBACK], "Name it with --smtp-host"),
        (["--callback-url", CALLBACK, "--smtp-password-file", "/nowhere"], "--smtp-password-file must be a file"),
        (["--server", "other"], "other"),
    ],
)
def test_what_is_missing_is_named_with_its_option(run: Run, fresh: FakeProxy, arguments: list[str], words: str) -> None:
    done = run("setup", *arguments)
    assert done.exit_code == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_callback_url_that_is_none_is_refused(run: Run) -> None:
    done = run("setup", "--callback-url", "worker:9100")
    assert done.exit_code == 2
    assert "the callback URL must be" in done.output


@pytest.mark.parametrize("name", ["mail_proxy_tenant", "mail_proxy_account"])
def test_an_id_that_is_not_set_is_named(run: Run, app: Celery, fresh: FakeProxy, name: str) -> None:
    app.conf[name] = None
    done = run("setup", "--callback-url", CALLBACK)
    assert done.exit_code == 1
    assert f"{name} must be set" in done.stderr
