"""`celery mailproxy share`."""

from __future__ import annotations

import json

import pytest

from celery_mailproxy.runtime import forget_runtime
from tests.unit.cli.migrating import run
from tests.unit.migration.migrated_app import Migrated, migrated
from tests.unit.migration.test_wrapping import task_of


def test_the_share_is_shown_set_and_reset(one: Migrated) -> None:
    assert run(one, "share").output == "share 0.25, from the settings\n"
    assert run(one, "share", "0.5").output == "share 0.5, set by operators (the settings say 0.25)\n"
    assert run(one, "share").output == "share 0.5, set by operators (the settings say 0.25)\n"
    assert run(one, "share", "--reset").output == "share 0.25, from the settings\n"
    assert one.runtime.store.get_value("migration.share") is None


@pytest.mark.parametrize("share", ["50", "-1", "half", "nan", "inf"])
def test_a_share_is_from_0_to_1(one: Migrated, share: str) -> None:
    done = run(one, "share", "--", share)
    assert done.exit_code == 2
    assert one.runtime.store.get_value("migration.share") is None


def test_a_share_and_a_reset_exclude_each_other(one: Migrated) -> None:
    assert run(one, "share", "0.5", "--reset").exit_code == 2


def test_a_route_is_told_of() -> None:
    with migrated(route=lambda message: None) as one:
        assert "decides first" in run(one, "share").output


def test_the_share_of_a_tasks_own_is_shown_while_it_holds(one: Migrated) -> None:
    task_of(one, share=0.75)
    own = ["share 0.25, from the settings", "share 0.75 of shop.receipt, from its migrate()"]
    assert run(one, "share").output.splitlines() == own
    assert run(one, "migration").output.splitlines()[6:8] == own
    assert json.loads(run(one, "migration", "--json").output)["task_shares"] == {"shop.receipt": 0.75}
    assert run(one, "share", "0.5").output == "share 0.5, set by operators (the settings say 0.25)\n"
    assert json.loads(run(one, "migration", "--json").output)["task_shares"] == {"shop.receipt": 0.5}


def test_a_share_that_does_nothing_is_told_of() -> None:
    with migrated() as one:
        assert "does nothing" not in run(one, "share", "0.5").output
        one.app.conf.mail_proxy_migration = None
        forget_runtime(one.app)
        for arguments in (("0.5",), (), ("--reset",)):
            assert "mail_proxy_migration is not set: the share does nothing" in run(one, "share", *arguments).output
