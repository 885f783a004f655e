"""The link of the clock: claims and leases are compared between machines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ...deliveries.report import utcnow
from ...runtime import Runtime
from .links import Link, fine, skipped, warning

__all__ = ["check_clock"]

_NAME = "clock"

#: A claim holds 15 seconds, and may be renewed 5 seconds late: two machines that are each so far off, in the opposite
#: directions, are the most that does no harm.
_SECONDS = 5.0


def check_clock(runtime: Runtime, *, clock: Callable[[], datetime] = utcnow) -> Link:
    """This machine's clock agrees with the store's, as far as the store has one of its own."""
    before = clock()
    there = runtime.store.server_time()
    after = clock()
    if there is None:
        return skipped(_NAME, "the store has no clock of its own")
    # What the way took may have passed before or after the look.
    early, late = (before - there).total_seconds(), (after - there).total_seconds()
    if early > _SECONDS or late < -_SECONDS:
        off = early if early > 0 else late
        where = "ahead of" if off > 0 else "behind"
        return warning(
            _NAME,
            f"this machine is {abs(off):,.0f} s {where} the store",
            "Set both clocks by NTP: claims on reports are compared between machines, and handlers may run twice.",
        )
    return fine(_NAME, f"within {_SECONDS:g} s of the store's")
