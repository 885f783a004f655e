"""`celery -A proj mailproxy share`."""

from __future__ import annotations

import math
from typing import Any

import click
from celery import Celery

from ..migration.figures import own_shares
from ..migration.routing import Router, get_router
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .terminal import Terminal

__all__ = ["command", "share_lines"]


class _Share(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        share = float(super().convert(value, param, ctx))
        # Neither below the range nor above it.
        if math.isnan(share):
            self.fail("nan is not a number from 0 to 1.", param, ctx)
        return share


@click.command("share", cls=MailProxyCommand)
@click.argument("share", type=_Share(0, 1), required=False)
@click.option("--reset", is_flag=True, help="Return to the share in the settings.")
@click.pass_context
def command(ctx: click.Context, share: float | None, reset: bool) -> None:
    """Set the share of mail sent through the proxy.

    SHARE is a number from 0 to 1. All workers follow it within five seconds, until
    it is set again; without SHARE, the current one is shown. A mail that has been
    started keeps its transport. Workers and this command must share a store: with
    SQLite, one file, named by its absolute path.

    \b
    Examples:
      celery -A proj mailproxy share 0.5
      celery -A proj mailproxy share --reset
    """
    if reset and share is not None:
        raise click.UsageError("SHARE and --reset cannot be combined.")
    app = app_of(ctx)
    router = get_router(app)
    if reset or share is not None:
        router.set_share(share)
    if router.operators_share() is None:
        # After the share is set: nothing that fails to be imported may keep an operator from that.
        app.loader.import_default_modules()
    terminal = Terminal.of(ctx)
    for line in share_lines(app, router):
        terminal.line(line)
    if get_runtime(app).settings.migration is None:
        terminal.note(
            "mail_proxy_migration is not set: the share does nothing, but for tasks of migrate() and Django's "
            "MigrationEmailBackend, whose emails are not counted. Set it in the application of workers and commands."
        )
    if router.settings.route is not None:
        terminal.note("mail_proxy_migration['route'] decides first; this is the share of what it leaves open.")


def share_lines(app: Celery, router: Router) -> list[str]:
    """`share 0.5, set by operators (the settings say 0.25)`; without operators, also the shares of tasks' own."""
    configured = f"{router.settings.share:g}"
    operators = router.operators_share()
    if operators is not None:
        return [f"share {operators:g}, set by operators (the settings say {configured})"]
    own = [f"share {share:g} of {name}, from its migrate()" for name, share in own_shares(app).items()]
    return [f"share {configured}, from the settings", *own]
