"""Warns when a chord's counters would expire before its mails are delivered: such a chord never ends."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from celery import Celery

from ...runtime import Runtime

__all__ = ["short_chord_life", "warn_of_short_chords"]

logger = logging.getLogger(__name__)

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def short_chord_life(app: Celery, awaited_seconds: float) -> str | None:
    """What is wrong where the app forgets a chord before its mails are given up; None where nothing is.

    Single results still complete: they are written anew. `awaited_seconds` is how long a mail's end may be awaited.
    """
    key, seconds = _chord_life(app)
    if seconds is None or seconds >= awaited_seconds:
        return None
    # The same words whatever Celery: who upgrades gets the setting that does not keep every result for so long.
    newer = " (from Celery 5.7 on result_chord_expires does, for chords alone)" if key == "result_expires" else ""
    return (
        f"{key} is {_duration(seconds)}, but the end of an email may be awaited for {_duration(awaited_seconds)} "
        f"(mail_proxy_store_ttl_seconds): a chord of emails that takes longer never ends. "
        f"Set {key} higher than any email may take{newer}."
    )


def warn_of_short_chords(runtime: Runtime) -> None:
    """Log it, once for an app in a process: at its first mail in a chord, for without chords nothing is lost."""
    # The runtime keeps what has been built: it is built once.
    runtime.part(_warning)


def _warning(runtime: Runtime) -> str | None:
    problem = short_chord_life(runtime.app, runtime.settings.store_ttl_seconds)
    if problem is not None:
        logger.warning("%s", problem)
    return problem


def _chord_life(app: Celery) -> tuple[str, float | None]:
    """The setting that says how long a chord is remembered, and its value; None: for ever."""
    own = app.conf.get("result_chord_expires")
    if own is not None:
        return "result_chord_expires", _seconds(own)
    return "result_expires", _seconds(app.conf.get("result_expires"))


def _duration(seconds: float) -> str:
    """In the largest unit of which there is one: `30 days`, `1.5 hours`, `1 minute`."""
    size, unit = next(pair for pair in _UNITS if seconds >= pair[0] or pair[0] == 1)
    number = f"{seconds / size:.4g}"
    return f"{number} {unit}{'' if number == '1' else 's'}"


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    # Celery reads 0 as "never".
    return seconds or None
