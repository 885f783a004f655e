"""`celery -A proj mailproxy forget`."""

from __future__ import annotations

import click

from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .erasure import ADDRESS_PROBLEM, LEFT, erase_in, read_address
from .options import json_option
from .terminal import Terminal

__all__ = ["command"]


@click.command("forget", cls=MailProxyCommand)
@click.argument("address", metavar="ADDRESS")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Change nothing, only say what would be done.")
@click.option("--keep-suppressed", "keeps_suppressed", is_flag=True, help="Leave it on the suppression list.")
@json_option()
@click.pass_context
def command(ctx: click.Context, address: str, is_dry_run: bool, keeps_suppressed: bool, is_json: bool) -> None:
    """Erase a mail address from the store.

    Erases it from everything that has ended: summaries, reasons, recipients,
    arguments of callbacks. With - instead of ADDRESS it is read from standard
    input, and stands in no shell's history. What still needs it is left and
    named: then the exit code is 3. Run it again when that has ended. It leaves
    the suppression list, too: with --keep-suppressed it stays there, so that
    no mail goes to it.

    \b
    Examples:
      celery -A proj mailproxy forget --dry-run ann@example.com
      echo ann@example.com | celery -A proj mailproxy forget -
    """
    sought = read_address(address)
    if sought is None:
        raise click.BadParameter(ADDRESS_PROBLEM, ctx, param_hint="ADDRESS")
    store = get_runtime(app_of(ctx)).store
    terminal = Terminal.of(ctx)
    if not erase_in(store, sought, terminal, is_json=is_json, is_dry_run=is_dry_run, keeps_suppressed=keeps_suppressed):
        ctx.exit(LEFT)
