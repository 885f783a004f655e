"""`celery -A proj mailproxy reconcile`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from ..outcomes.reconciling import reconcile
from ..outcomes.tally import Tally
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .options import json_option
from .tables import show_numbers
from .terminal import Terminal

__all__ = ["command"]

#: What the table says of each number of a tally.
_WORDS = {
    "sent": "had been sent",
    "error": "had been given up",
    "expired": "had expired, taken out of the queue",
    "resubmitted": "lost by the proxy, submitted again",
    "unknown": "lost by the proxy, ended as error",
    "open": "still open",
    "unanswered": "the proxy could not be asked for",
    "looked_at": "emails looked at",
}


@click.command("reconcile", cls=MailProxyCommand)
@json_option()
@click.pass_context
def command(ctx: click.Context, is_json: bool) -> None:
    """Ask the proxy for emails that it has not reported on.

    Looks at all emails without an outcome after mail_proxy_overdue_seconds.
    What the proxy knows of them is recorded, and dispatched by a worker. Workers
    do this by themselves, as part of the maintenance. Exits with code 1 if one
    is at it just now.

    \b
    Example:
      celery -A proj mailproxy reconcile
    """
    terminal = Terminal.of(ctx)
    runtime = get_runtime(app_of(ctx))
    with _progress(terminal) as on_page:
        tally = reconcile(runtime, on_page=on_page)
    if tally is None:
        terminal.error("a worker or another command is asking the proxy just now: try again in a minute.")
        ctx.exit(1)
    if runtime.settings.reports == "push":
        terminal.note("mail_proxy_reports is 'push': only emails that have expired were looked at.")
    if is_json:
        terminal.json(asdict(tally))
    else:
        numbers = asdict(tally)
        show_numbers(terminal, ((numbers[name], words, "bold") for name, words in _WORDS.items()))


@contextmanager
def _progress(terminal: Terminal) -> Iterator[Callable[[Tally], None]]:
    """Shows how far it is, to people only."""
    if not terminal.err.is_terminal:
        yield lambda tally: None
        return
    with terminal.err.status("Asking the proxy …") as status:
        yield lambda tally: status.update(f"Asking the proxy … {tally.looked_at} emails")
