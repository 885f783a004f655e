"""The log in a database of its own. Django's settings are fixed, so that these tests are a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_admin_of_a_log_in_its_own_database() -> None:
    tests = Path(__file__).with_name("two_databases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "--ds", "tests.django.harness.two_databases_settings", "-q"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, "its output is above"
    assert "skipped" not in done.stdout
