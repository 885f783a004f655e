"""The tests of store and models on another database: Django's settings are fixed, so each is a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.harness.databases import MariaServer, PostgresServer

__all__ = ["assert_store_and_models_hold"]

ROOT = Path(__file__).parents[3]
FILES = ("test_store.py", "test_models.py", "test_pruning.py", "test_damage.py")


def assert_store_and_models_hold(server: PostgresServer | MariaServer) -> None:
    """Run them, and show what they print where one fails."""
    tests = [str(ROOT / "tests/django/log" / name) for name in FILES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *tests, "--ds", "tests.django.settings", "-q"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_TEST_DATABASE": json.dumps(server.django)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"failed on {server.name}; its output is above"
    assert "skipped" not in done.stdout
