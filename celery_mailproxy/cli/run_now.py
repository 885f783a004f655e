"""`celery -A proj mailproxy run-now`."""

from __future__ import annotations

import click

from ..control.pausing import run_now
from .command import MailProxyCommand, app_of
from .pausing import place_options
from .terminal import Terminal

__all__ = ["command"]


@click.command("run-now", cls=MailProxyCommand)
@place_options
@click.pass_context
def command(ctx: click.Context, tenant: str | None, server: str) -> None:
    """Let the proxy send and report at once.

    It looks for what is due by itself, several times a second, and posts again
    within five minutes what the receiver did not take. This need not be waited
    for.

    \b
    Example:
      celery -A proj mailproxy run-now
    """
    run_now(tenant=tenant, server=server, app=app_of(ctx))
    Terminal.of(ctx).line("The proxy looks for what is to be sent and reported.")
