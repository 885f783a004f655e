"""`celery mailproxy cancel`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.leaving import new_run
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.runtime import get_runtime
from tests.unit.cli.shop import Run, report, without_escapes

Remember = Callable[..., Delivery]


def test_a_mail_that_waits_is_cancelled(run: Run, app: Celery, remember: Remember) -> None:
    remember("m1")
    result = run("cancel", "m1")
    assert (result.exit_code, result.stdout) == (0, "m1  cancelled before submission\n")
    found = get_runtime(app).store.get("m1")
    assert found is not None
    assert found.status == "cancelled"


def test_what_was_not_cancelled_fails(run: Run, remember: Remember) -> None:
    remember("m1", report(Kind.SENT))
    result = run("cancel", "m1", "nobody", "m1")
    assert result.exit_code == 1
    assert result.stdout == "m1  too late: sent\nnobody  unknown id; if a worker gets it, it is not sent\n"


def test_what_may_have_been_sent_has_an_exit_code_of_its_own(run: Run, remember: Remember) -> None:
    remember("m1", report(Kind.QUEUED, "m1"))
    remember("m2", report(Kind.SENT, "m2"))
    result = run("cancel", "m1", "m2")
    assert result.exit_code == 3
    first, second = result.stdout.splitlines()
    assert first.startswith("m1  may have been sent: the proxy could not be asked: no connection")
    assert second == "m2  too late: sent"


def test_programs_get_one_object_per_message(run: Run, remember: Remember) -> None:
    remember("m1")
    remember("m2", report(Kind.SENT, "m2"))
    result = run("cancel", "--json", "-", input="m1\n\n m2 \nm1\n")
    assert result.exit_code == 1
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {
            "message_id": "m1",
            "outcome": "cancelled before submission",
            "is_cancelled": True,
            "status": "cancelled",
            "reason": None,
        },
        {"message_id": "m2", "outcome": "too late", "is_cancelled": False, "status": "sent", "reason": None},
    ]


def test_people_get_a_table(run: Run, remember: Remember) -> None:
    remember("m1", run=new_run(), server="legacy")
    result = run("cancel", "m1", "m2\x1b]0;title\x07", env={"FORCE_COLOR": "1", "COLUMNS": "200"})
    text = without_escapes(result.stdout)
    assert "Message" in text
    assert "may have been sent: it is sent through the legacy transport" in text
    assert "\x07" not in result.stdout


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_id_is_needed(run: Run, arguments: list[Any]) -> None:
    assert run("cancel", *arguments).exit_code == 2
