"""`celery mailproxy check`: a whole run, and how it is shown."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from celery import Celery

from celery_mailproxy.errors import ProxyUnavailable
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.tasks.sending.troubles import troubles_of
from celery_mailproxy.testing import FakeProxy
from tests.unit.cli.shop import SYNC_TOKEN, Run, serving, without_escapes


def test_check_of_a_whole_chain_is_green(run: Run, app: Celery, proxy: FakeProxy) -> None:
    app.conf.update(mail_proxy_dispatch="inline", task_always_eager=True)
    with serving(app) as url:
        proxy.report_to(url, bearer_token=SYNC_TOKEN)
        result = run("check", "--send-to", "ann@example.com", "--timeout", "180", "--json")
    answer = json.loads(result.stdout)
    links = {link["link"]: link["outcome"] for link in answer["links"]}
    assert answer["ok"], answer
    assert result.exit_code == 0
    assert {name for name, outcome in links.items() if outcome == "ok"} == {
        *("application", "settings", "mails", "proxy", "API", "token", "sending", "tenant", "account"),
        *("callback URL", "callback token", "callback", "round trip"),
    }
    assert (links["broker"], links["workers"], links["store"]) == ("skipped", "skipped", "warning")
    for secret in (SYNC_TOKEN, proxy.token):
        assert secret not in result.output


def test_check_piped_is_plain_lines(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    result = run("check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ok       application     shop")
    assert any(line.startswith("failed   proxy ") for line in lines)
    assert any("-> Start the proxy, or correct mail_proxy_url." in line for line in lines)
    assert "─" not in result.stdout
    outcomes = Counter(line.split()[0] for line in lines[:-1] if not line.startswith(" "))
    assert lines[-1].startswith(f"{outcomes.total()} links: ")
    assert f"{outcomes['failed']} failed" in lines[-1]


@pytest.mark.parametrize("columns", [80, 140])
def test_check_in_a_terminal_fits(run: Run, app: Celery, columns: int) -> None:
    app.conf.task_always_eager = True
    result = run("check", env={"FORCE_COLOR": "1", "COLUMNS": str(columns)})
    lines = without_escapes(result.stdout).splitlines()
    assert max(map(len, lines)) <= columns
    assert "✗ failed" in result.stdout


def test_check_goes_on_where_the_settings_are_wrong(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_ulr = "http://x"
    result = run("check")
    assert result.exit_code == 1
    assert "failed   settings        unknown setting mail_proxy_ulr. Did you mean mail_proxy_url?" in result.stdout
    assert "skipped  proxy           needs the settings" in result.stdout


def test_check_says_why_mails_wait(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    waiting = ProxyUnavailable("the proxy answered 401", status=401, remedy="Set mail_proxy_token.")
    troubles_of(get_runtime(app)).note("default", SubmitAnswer(unsettled={"m1": waiting, "m2": waiting}))
    lines = run("check").stdout.splitlines()
    (line,) = [number for number, line in enumerate(lines) if line.startswith("warning  mails ")]
    text = " ".join(" ".join(lines[line : line + 4]).split())
    assert "2 emails wait, since" in text
    assert "the proxy answered 401" in text
    assert "-> Set mail_proxy_token." in text


def test_check_goes_on_where_a_certificate_is_missing(run: Run, app: Celery) -> None:
    app.conf.update(task_always_eager=True, mail_proxy_ca_file="/nowhere/ca.pem")
    result = run("check")
    assert result.exit_code == 1
    assert "failed   proxy" in result.stdout
    assert "mail_proxy_ca_file" in result.stdout


def test_check_of_an_unknown_server_names_the_known(run: Run, app: Celery) -> None:
    app.conf.task_always_eager = True
    assert "server must be one of default, got 'x'" in run("check", "--server", "x").stdout
