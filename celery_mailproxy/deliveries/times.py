"""Moments as the wire writes them."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

__all__ = ["read_moment"]

#: The year 5138: what is more is no number of seconds.
_FAR_SECONDS = 1e11

#: No time is written with more characters.
_MAX_LENGTH = 40

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")

#: The extended format of ISO 8601. `datetime.fromisoformat` takes more of it from Python 3.11 on, and less before.
_ISO = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,]([0-9]+))?\s?"
    r"(?:([Zz])|([+-][0-9]{2}):?([0-9]{2})?)?"
)


def read_moment(value: Any) -> datetime | None:
    """The moment in UTC that `value` stands for, where that is clear; else None.

    Unix seconds, as every release of the proxy sends them. Milliseconds, microseconds and nanoseconds since 1970 are
    told by their size: as seconds they would lie beyond the year 5138, and every moment from 1973 on, written in one
    unit, lies outside of the others'. Any of these as text; and the extended format of ISO 8601 with a time of day,
    which is taken for UTC where it names no zone: that is what the proxy counts in.
    """
    if isinstance(value, str):
        return _moment_of_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
        for _ in ("milliseconds", "microseconds", "nanoseconds"):
            if seconds >= _FAR_SECONDS:
                seconds /= 1000
        # NaN is within no limits.
        return datetime.fromtimestamp(seconds, timezone.utc) if -_FAR_SECONDS < seconds < _FAR_SECONDS else None
    except (OverflowError, OSError, ValueError):
        # An integer of a thousand digits, and a year before the first.
        return None


def _moment_of_text(text: str) -> datetime | None:
    if len(text) > _MAX_LENGTH:
        return None
    if _NUMBER.fullmatch(text):
        return read_moment(float(text))
    if (match := _ISO.fullmatch(text)) is None:
        return None
    day, minute, second, fraction, zulu, hours, minutes = match.groups()
    zone = f"{hours}:{minutes or '00'}" if hours and not zulu else "+00:00"
    try:
        written = f"{day}T{minute}{second or ':00'}.{(fraction or '0')[:6]:0<6}{zone}"
        return datetime.fromisoformat(written).astimezone(timezone.utc)
    except (OverflowError, ValueError):
        return None
