"""`celery mailproxy bounces`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.runtime import forget_runtime, get_delivery
from tests.unit.bounces.boxes import FilledMaildir
from tests.unit.bounces.corpus import specimens
from tests.unit.cli.shop import Run

CORPUS = {each.name: each for each in specimens()}


@pytest.fixture
def box(app: Celery, tmp_path: Path, remember: Callable[..., Delivery]) -> FilledMaildir:
    app.conf.task_always_eager = True
    box = FilledMaildir(tmp_path)
    app.conf.mail_proxy_bounce_mailbox = box.url
    for name in ("postfix-two-recipients", "abuse-report", "none-vacation", "qmail-no-host"):
        box.deliver(CORPUS[name].source)
    for name in ("postfix-two-recipients", "abuse-report"):
        remember(CORPUS[name].expected[0].message_id or "")
    return box


def test_bounces_are_read_once_and_counted(run: Run, app: Celery, box: FilledMaildir) -> None:
    assert json.loads(run("bounces", "--json").stdout) == {
        "looked_at": 4,
        "hard": 1,
        "soft": 1,
        "undetermined": 0,
        "complaints": 1,
        "unknown": 1,
        "others": 1,
    }
    assert json.loads(run("bounces", "--json").stdout)["looked_at"] == 0
    bounced = get_delivery(CORPUS["postfix-two-recipients"].expected[0].message_id or "", app=app)
    complained = get_delivery(CORPUS["abuse-report"].expected[0].message_id or "", app=app)
    assert bounced is not None
    assert complained is not None
    assert bounced.status is Status.BOUNCED
    assert {entry.report.recipient for entry in bounced.history} == {"ann@mail.example", "bob@mail.example"}
    assert [str(entry.report.kind) for entry in complained.history] == ["complained"]
    assert complained.status is Status.NEW


def test_table_says_what_was_found(run: Run, box: FilledMaildir) -> None:
    lines = run("bounces").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["1", "hard bounces"],
        ["1", "soft bounces"],
        ["0", "bounces of neither kind"],
        ["1", "complaints"],
        ["1", "notices of other emails, left unread"],
        ["1", "no notices, left unread"],
        ["4", "emails looked at"],
    ]


def test_missing_setting_and_missing_mailbox_are_one_line(run: Run, app: Celery, tmp_path: Path) -> None:
    assert "mail_proxy_bounce_mailbox is not set" in run("bounces").stderr
    app.conf.mail_proxy_bounce_mailbox = f"maildir://{tmp_path}/none"
    forget_runtime(app)
    result = run("bounces")
    assert result.exit_code == 1
    assert "no Maildir" in result.stderr
