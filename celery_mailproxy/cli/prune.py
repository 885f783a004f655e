"""`celery -A proj mailproxy prune`."""

from __future__ import annotations

import click

from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .terminal import Terminal

__all__ = ["command"]


@click.command("prune", cls=MailProxyCommand)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Delete at most N.",
)
@click.pass_context
def command(ctx: click.Context, limit: int) -> None:
    """Delete expired deliveries.

    Deletes the oldest first. Workers do this by themselves, or the task
    celery_mailproxy.maintain in Celery beat; where neither does, SQLite and
    Django's database need this command. Redis expires deliveries itself.

    \b
    Example:
      celery -A proj mailproxy prune
    """
    pruned = get_runtime(app_of(ctx)).store.prune(limit=limit)
    rest = "; there may be more: run it again" if pruned == limit else ""
    Terminal.of(ctx).line(f"{pruned} expired {'delivery' if pruned == 1 else 'deliveries'} deleted{rest}.")
