"""What the outbox costs a mail of Django's backend on PostgreSQL: printed, and asserted as a ratio taken in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import required_under_ci
from tests.harness.databases import PostgresServer

pytestmark = pytest.mark.benchmark

#: A mail with the outbox takes at most so many times as long as one without: 1.3 measured on an idle machine.
RATIO = 2.0


def test_the_outbox_costs_less_than_the_rest_of_a_mail(capsys: pytest.CaptureFixture[str]) -> None:
    with required_under_ci(), PostgresServer() as server:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.django.settings",
            "DJANGO_TEST_DATABASE": json.dumps(server.django),
        }
        run = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.outbox_cost"],
            cwd=Path(__file__).parents[2],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = json.loads(run.stdout)["milliseconds"]
    with capsys.disabled():
        for size, each in found.items():
            cost = each["with"] - each["without"]
            print(
                f"\noutbox on PostgreSQL, a mail of {size}: {each['without']:.2f} ms without it, {each['with']:.2f} ms "
                f"with it: {cost:.2f} ms; its row in and out alone {each['statements']:.2f} ms",
                end="",
            )
    assert all(each["with"] < RATIO * each["without"] for each in found.values())
