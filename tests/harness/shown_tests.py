"""Runs the tests that a page shows, as a reader would: by themselves, with warnings as errors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .waiting import PATIENCE_SECONDS

__all__ = ["assert_shown_tests_pass"]


def assert_shown_tests_pass(shown: Sequence[str], folder: Path) -> None:
    """Run each of these, of one test each, from a file of its own in the folder."""
    assert shown
    for number, code in enumerate(shown):
        (folder / f"test_shown_{number}.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(folder)],
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(shown)} passed" in done.stdout
