"""An audit, for `celery mailproxy audit` and `manage.py mailproxy_audit`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from ..deliveries.report import utcnow
from ..outcomes.auditing import Audit, audit
from ..runtime import Runtime
from .tables import show_numbers
from .terminal import Terminal, local_time, plain

__all__ = ["SPAN_PROBLEM", "audit_in", "read_span"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

SPAN_PROBLEM = "must be a number with a unit, such as 90m, 24h or 7d"


def read_span(text: str) -> timedelta | None:
    """`90m`, `24h`, `7d`; None where it is nothing of that kind."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    return None if match is None else timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def audit_in(runtime: Runtime, terminal: Terminal, *, span: timedelta, is_json: bool) -> bool:
    """Print the audit of that span; whether everything is accounted for. Raises `StoreError`."""
    found = audit(runtime, since=utcnow() - span)
    if is_json:
        terminal.json(found.to_json())
    else:
        _show(terminal, found)
    return found.is_accounted_for


def _show(terminal: Terminal, found: Audit) -> None:
    terminal.line(f"Emails since {local_time(found.since)}:")
    show_numbers(terminal, _rows(found))
    named = {"overdue": found.some_overdue, "unknown here": found.some_unknown_here}
    named["unknown to the proxy"] = found.some_unknown_there
    for words, ids in named.items():
        for message_id in ids:
            terminal.line(f"{words}: {message_id}")
    for place, problem in found.unanswered.items():
        terminal.error(f"{place} could not be asked: {plain(problem)}")
    terminal.line("Everything is accounted for." if found.is_accounted_for else "Not everything is accounted for.")


def _rows(found: Audit) -> Iterator[tuple[int, str, str]]:
    """Number, words, style: red where there should be none."""
    yield found.accepted, "accepted", "bold"
    yield from ((number, f"ended as {status}", "bold") for status, number in sorted(found.ended.items()))
    yield found.open, "open", "bold"
    yield found.overdue, "of these overdue", "bold red"
    yield from ((number, f"at the proxy, {state}", "bold") for state, number in found.at_proxy.items())
    yield found.unknown_there, "open, and unknown to the proxy", "bold red"
    yield found.unknown_here, "at the proxy, and unknown here", "bold red"
