"""One run of `check`, shown as it goes: what `celery mailproxy check` and `manage.py mailproxy_check` share."""

from __future__ import annotations

from contextlib import nullcontext

from rich.text import Text

from ..terminal import Terminal, plain
from .checkup import Checkup
from .links import Outcome
from .view import show_links, show_verdict

__all__ = ["run_checkup"]


def run_checkup(checkup: Checkup, terminal: Terminal, *, send_to: str | None, is_json: bool) -> bool:
    """Test every link, and with `send_to` the round trip of a mail to that address. False if one has failed."""
    _test(checkup, terminal, is_json=is_json)
    if send_to:
        _send(checkup, terminal, send_to, is_json=is_json)
    has_failed = any(link.outcome is Outcome.FAILED for link in checkup.found)
    if is_json:
        terminal.json({"ok": not has_failed, "links": [link.to_json() for link in checkup.found]})
    else:
        show_verdict(terminal, checkup.found)
    return not has_failed


def _test(checkup: Checkup, terminal: Terminal, *, is_json: bool) -> None:
    is_watched = not is_json and not terminal.is_plain
    with terminal.out.status("Checking …") if is_watched else nullcontext() as status:
        for link in checkup.links():
            if status is not None:
                status.update(Text(f"Checking … {link.name} is {link.outcome}"))
    if not is_json:
        show_links(terminal, checkup.found)


def _send(checkup: Checkup, terminal: Terminal, address: str, *, is_json: bool) -> None:
    if is_json:
        list(checkup.round_trips(address))
        return
    terminal.line(f"Sending an email to {plain(address)}")
    show_links(terminal, list(checkup.round_trips(address, terminal)), with_header=False)
