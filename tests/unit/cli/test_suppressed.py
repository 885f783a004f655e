"""`celery mailproxy suppressed`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from celery import Celery

from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.suppression import Cause, SuppressedAddress
from celery_mailproxy.runtime import forget_runtime, get_runtime
from tests.unit.cli.shop import Run, without_escapes


@pytest.fixture(autouse=True)
def switched_on(app: Celery) -> None:
    app.conf.mail_proxy_suppression = True


def listed(app: Celery) -> list[str]:
    return sorted(each.address for page in get_runtime(app).store.suppression.pages() for each in page)


def bounce(app: Celery, address: str, message_id: str = "m1") -> None:
    entry = SuppressedAddress(address=address, cause=Cause.BOUNCED, at=utcnow(), message_id=message_id)
    get_runtime(app).store.suppression.add([entry])


def test_the_list_shows_addresses_with_their_cause(run: Run, app: Celery) -> None:
    assert run("suppressed", "list").stdout == "The list is empty.\n"
    bounce(app, "bob@example.com", "m7")
    assert run("suppressed", "add", "Ann <ANN@bücher.example>").stdout == "1 added, 0 on the list already.\n"
    lines = [line.split() for line in run("suppressed", "list").stdout.splitlines()]
    assert [(line[0], line[1], line[5:]) for line in lines] == [
        ("ann@xn--bcher-kva.example", "added", []),
        ("bob@example.com", "bounced", ["m7"]),
    ]


def test_the_list_is_one_json_object_a_line(run: Run, app: Celery) -> None:
    bounce(app, "bob@example.com")
    run("suppressed", "add", "ann@example.com")
    objects = [json.loads(line) for line in run("suppressed", "list", "--json").stdout.splitlines()]
    assert [(each["address"], each["cause"], each["message_id"]) for each in objects] == [
        ("ann@example.com", "added", None),
        ("bob@example.com", "bounced", "m1"),
    ]
    assert all("+00:00" in each["at"] for each in objects)


def test_the_list_can_be_searched(run: Run, app: Celery) -> None:
    bounce(app, "bob@example.com")
    run("suppressed", "add", "ann@example.com", "ann@other.example")
    assert "bob@" not in run("suppressed", "list", "--search", "ANN@").stdout
    assert run("suppressed", "list", "--cause", "bounced").stdout.split()[0] == "bob@example.com"
    assert run("suppressed", "list", "--search", "nobody").stdout == "No such address is on the list.\n"
    assert run("suppressed", "list", "--cause", "nonsense").exit_code == 2


def test_for_people_it_is_a_table(run: Run, app: Celery) -> None:
    bounce(app, "bob@example.com")
    shown = without_escapes(run("suppressed", "list", env={"FORCE_COLOR": "1"}).stdout)
    assert [word in shown for word in ("Address", "Cause", "bob@example.com", "bounced")] == [True] * 4


def test_a_file_is_read_line_by_line_and_what_is_no_address_is_named_not_shown(
    run: Run, app: Celery, tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# unsubscribed\nann@example.com\n\n  Bob <bob@example.com>  \nsecretword\nANN@example.com\n")
    result = run("suppressed", "add", "--file", str(path))
    assert (result.exit_code, result.stdout) == (1, "2 added, 0 on the list already.\n")
    assert "file, line 5 is no mail address" in result.stderr
    assert "secretword" not in result.output
    assert listed(app) == ["ann@example.com", "bob@example.com"]
    again = run("suppressed", "add", "--json", "-", "cid@example.com", input="ann@example.com\nbob@example.com\n")
    assert (again.exit_code, json.loads(again.stdout)) == (0, {"added": 1, "known": 2, "invalid": []})


def test_what_is_removed_is_gone_whatever_its_cause(run: Run, app: Celery) -> None:
    bounce(app, "ann@example.com")
    run("suppressed", "add", "ann@example.com", "bob@example.com")
    result = run("suppressed", "remove", "Ann@Example.com")
    assert (result.exit_code, result.stdout) == (0, "1 removed, 0 not on the list.\n")
    assert listed(app) == ["bob@example.com"]
    again = run("suppressed", "remove", "--json", "ann@example.com", "bob@example.com", "x")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == {"removed": 1, "unknown": 1, "invalid": ["argument 3"]}


@pytest.mark.parametrize("name", ["add", "remove"])
def test_addresses_have_to_be_given(run: Run, name: str) -> None:
    result = run("suppressed", name)
    assert result.exit_code == 2
    assert "Give addresses, or --file" in result.stderr


def test_that_the_list_is_not_used_is_said(run: Run, app: Celery) -> None:
    app.conf.mail_proxy_suppression = False
    forget_runtime(app)
    result = run("suppressed", "add", "ann@example.com")
    assert (result.exit_code, listed(app)) == (0, ["ann@example.com"])
    assert "mail_proxy_suppression is off" in result.stderr


def test_forget_takes_an_address_off_the_list_unless_it_is_to_stay(run: Run, app: Celery) -> None:
    bounce(app, "ann@example.com")
    tried = run("forget", "--dry-run", "ann@example.com")
    assert "It would be removed from the suppression list" in tried.stdout
    kept = run("forget", "--keep-suppressed", "ANN@example.com")
    assert "It stays on the suppression list" in kept.stdout
    assert listed(app) == ["ann@example.com"]
    assert json.loads(run("forget", "--json", "ann@example.com").stdout)["suppressed"] == "removed"
    assert listed(app) == []
    assert json.loads(run("forget", "--json", "ann@example.com").stdout)["suppressed"] is None
