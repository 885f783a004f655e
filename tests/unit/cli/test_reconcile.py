"""`celery mailproxy reconcile`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.report import Kind, utcnow
from celery_mailproxy.runtime import get_delivery, get_runtime
from celery_mailproxy.testing import FakeProxy
from celery_mailproxy.testing.outcomes import error
from tests.harness.waiting import wait_until
from tests.unit.cli.shop import Run, report


@pytest.fixture
def silent(app: Celery, proxy: FakeProxy, remember: Callable[..., Delivery]) -> FakeProxy:
    """A proxy that has sent one mail and given up another, and has reported neither; a third it does not know."""
    app.conf.update(task_always_eager=True, mail_proxy_overdue_seconds=0.001)
    proxy.plan("m2", error("550 no such user"))
    common = {"tenant_id": proxy.tenant_id, "account_id": proxy.account_id, "from": "a@example.com"}
    mails = [{**common, "id": each, "to": ["b@example.com"], "subject": "S", "body": "B"} for each in ("m1", "m2")]
    proxy.submit(mails)
    for each in ("m1", "m2", "lost"):
        remember(each, report(Kind.QUEUED, each), tenant_id=proxy.tenant_id)
    wait_until(lambda: len(proxy.pending_reports) == 2)
    store = get_runtime(app).store
    wait_until(lambda: len(store.due(now=utcnow())) == 3)
    return proxy


def test_what_the_proxy_knows_is_recorded_and_counted(run: Run, app: Celery, silent: FakeProxy) -> None:
    assert json.loads(run("reconcile", "--json").stdout) == {
        "looked_at": 3,
        "sent": 1,
        "error": 1,
        "expired": 0,
        "resubmitted": 0,
        "unknown": 1,
        "open": 0,
        "unanswered": 0,
    }
    found = {each: get_delivery(each, app=app) for each in ("m1", "m2", "lost")}
    assert {name: (each and (each.status, each.reason)) for name, each in found.items()} == {
        "m1": (Status.SENT, None),
        "m2": (Status.ERROR, "550 no such user"),
        "lost": (Status.ERROR, "unknown to the proxy"),
    }
    assert json.loads(run("reconcile", "--json").stdout)["looked_at"] == 0


def test_the_table_says_what_became_of_them(run: Run, silent: FakeProxy) -> None:
    lines = run("reconcile").stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["1", "had been sent"],
        ["1", "had been given up"],
        ["0", "had expired, taken out of the queue"],
        ["0", "lost by the proxy, submitted again"],
        ["1", "lost by the proxy, ended as error"],
        ["0", "still open"],
        ["0", "the proxy could not be asked for"],
        ["3", "emails looked at"],
    ]


def test_of_two_at_once_one_says_so(run: Run, app: Celery, silent: FakeProxy) -> None:
    get_runtime(app).store.take_lease("reconcile", "a worker", seconds=60)
    result = run("reconcile")
    assert result.exit_code == 1
    assert "try again in a minute" in result.stderr


def test_with_push_nothing_is_asked(run: Run, app: Celery, silent: FakeProxy) -> None:
    get_runtime(app).settings = replace(get_runtime(app).settings, reports="push")
    result = run("reconcile", "--json")
    assert result.exit_code == 0
    assert set(json.loads(result.stdout).values()) == {0}
    assert "only emails that have expired" in result.stderr
