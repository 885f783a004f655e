"""`celery -A proj mailproxy bounces`."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..bounces.reader import read_bounces
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .options import json_option
from .tables import show_numbers
from .terminal import Terminal

__all__ = ["command"]

#: What the table says of each number of a tally.
_WORDS = {
    "hard": "hard bounces",
    "soft": "soft bounces",
    "undetermined": "bounces of neither kind",
    "complaints": "complaints",
    "unknown": "notices of other emails, left unread",
    "others": "no notices, left unread",
    "looked_at": "emails looked at",
}


@click.command("bounces", cls=MailProxyCommand)
@json_option()
@click.pass_context
def command(ctx: click.Context, is_json: bool) -> None:
    """Read the bounce mailbox once.

    Looks at all unread mail in mail_proxy_bounce_mailbox. Bounces and
    complaints about this application's emails are dispatched by a worker and
    marked as read; everything else stays unread. Workers do this by
    themselves, as part of the maintenance.

    \b
    Example:
      celery -A proj mailproxy bounces
    """
    tally = read_bounces(get_runtime(app_of(ctx)))
    terminal = Terminal.of(ctx)
    if is_json:
        terminal.json(asdict(tally))
    else:
        numbers = asdict(tally)
        show_numbers(terminal, ((numbers[name], words, "bold") for name, words in _WORDS.items()))
