"""`celery mailproxy forget`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest
from celery import Celery

from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import Kind, utcnow
from celery_mailproxy.deliveries.stores.outbox import OutboxEntry
from celery_mailproxy.runtime import get_runtime
from tests.unit.cli.shop import Run, report, without_escapes

Remember = Callable[..., Delivery]


def test_forget_says_how_much_it_erased(run: Run, app: Celery, remember: Remember) -> None:
    remember("m1", report(Kind.ERROR, reason="550 Ann <ann@example.com>"))
    remember("m2", report(Kind.SENT, "m2"), summary={"subject": "for bob@example.com"})
    tried = run("forget", "--dry-run", "Ann <ann@example.com>")
    assert (tried.exit_code, tried.stdout) == (0, "The address would be erased from 1 of 2 records.\n")
    done = run("forget", "ANN@EXAMPLE.com")
    assert (done.exit_code, done.stdout) == (0, "The address was erased from 1 of 2 records.\n")
    assert get_runtime(app).store.get("m1").reason == "550 Ann <address>"  # type: ignore[union-attr]
    assert run("forget", "ann@example.com").stdout == "The address was erased from 0 of 2 records.\n"


def test_forget_names_what_is_left_and_says_why(run: Run, app: Celery, remember: Remember) -> None:
    remember("m1", report(Kind.DEFERRED, reason="451 ann@example.com"))
    remember("to:ann@example.com")
    entry = OutboxEntry(task_id="t1", content='{"n":"x"}\n[[],{"to":["ann@example.com"]},{}]', due_at=utcnow())
    get_runtime(app).store.outbox.put([entry])
    left = run("forget", "ann@example.com")
    assert left.exit_code == 3
    assert "The address was erased from 0 of 3 records.\n" in left.stdout
    for line in ("left: delivery m1 (deferred)", "left: delivery to:<address> (new)", "left: task t1"):
        assert f"{line}\n" in left.stdout
    assert "Run this again then" in left.stderr
    assert "outbox" in left.stderr
    assert get_runtime(app).store.get("m1").reason == "451 ann@example.com"  # type: ignore[union-attr]


def test_forget_prints_one_json_object(run: Run, remember: Remember) -> None:
    remember("m1", report(Kind.ERROR, reason="550 ann@example.com"))
    remember("m2", summary={"subject": "ann@example.com"})
    done = run("forget", "--json", "ann@example.com")
    assert done.exit_code == 3
    kept = [{"kind": "delivery", "id": "m2", "status": "new"}]
    assert json.loads(done.stdout) == {
        "is_dry_run": False,
        "looked_at": 2,
        "changed": 1,
        "deleted": 0,
        "suppressed": None,
        "kept": kept,
    }


def test_forget_reads_the_address_from_standard_input(run: Run, remember: Remember) -> None:
    remember("m1", report(Kind.ERROR, reason="550 ann@example.com"))
    assert run("forget", "-", input="ann@example.com\n").stdout == "The address was erased from 1 of 1 records.\n"


@pytest.mark.parametrize("address", ["ann", "ann@", "a@example.com, b@example.com", ""])
def test_forget_wants_one_address_and_does_not_repeat_it(run: Run, address: str) -> None:
    result = run("forget", address)
    assert result.exit_code == 2
    assert "must be one mail address" in result.stderr
    assert "example.com, b@" not in result.stderr


def test_forget_neither_shows_nor_logs_the_address(
    run: Run, remember: Remember, caplog: pytest.LogCaptureFixture
) -> None:
    address = "mailboxword@example.com"
    remember(f"to:{address}", report(Kind.ERROR, f"to:{address}", reason=address))
    remember("m2", summary={"subject": address})
    with caplog.at_level(logging.DEBUG):
        result = run("forget", address, env={"FORCE_COLOR": "1"})
    assert "from 1 of 2 records; 1 of them deleted" in without_escapes(result.stdout)
    assert "mailboxword" not in result.output + caplog.text
