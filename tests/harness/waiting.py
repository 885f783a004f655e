"""Waiting for a state. It costs nothing to be patient with one that comes; a machine may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE_SECONDS", "wait_until"]

#: How long anything is waited for that is to come.
PATIENCE_SECONDS = 180.0

Value = TypeVar("Value")


def wait_until(
    condition: Callable[[], Value],
    what: str | Callable[[], str] = "",
    *,
    timeout_seconds: float = PATIENCE_SECONDS,
    pause_seconds: float = 0.02,
) -> Value:
    """Wait for the condition and return its value. `what` says what has not come, in a `TimeoutError`."""
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_seconds:g} s: {what() if callable(what) else what}")
        time.sleep(pause_seconds)
    return value
