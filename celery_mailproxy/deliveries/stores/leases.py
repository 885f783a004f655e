"""A lease as a value of the store: who holds it, and until when."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

__all__ = ["lease_after"]


def lease_after(value: str | None, holder: str, *, seconds: float, now: datetime) -> tuple[bool, str | None]:
    """Whether `holder` gets the lease that `value` stands for, and the value that stands for it then.

    With no `seconds` the holder gives it back. What nobody can read is free.
    """
    current, until = _read(value)
    if current not in (None, holder) and now.timestamp() < until:
        return False, value
    if seconds <= 0:
        return True, None
    return True, json.dumps([holder, (now + timedelta(seconds=seconds)).timestamp()])


def _read(value: str | None) -> tuple[str | None, float]:
    try:
        holder, until = json.loads(value or "")
        return str(holder), float(until)
    except (TypeError, ValueError):
        return None, 0.0
