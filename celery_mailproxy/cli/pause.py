"""`celery -A proj mailproxy pause`."""

from __future__ import annotations

import click

from ..control.pausing import pause
from .command import MailProxyCommand, app_of
from .options import json_option
from .pausing import batch_option, place_options, show_pause
from .terminal import Terminal

__all__ = ["command"]


@click.command("pause", cls=MailProxyCommand)
@batch_option
@place_options
@json_option()
@click.pass_context
def command(ctx: click.Context, batch_code: str | None, tenant: str | None, server: str, is_json: bool) -> None:
    """Let the proxy hold back a batch, or all of a tenant.

    Workers go on submitting: what they submit waits at the proxy. What the
    proxy is sending just now is still sent. genro-mail-proxy 0.5.0 cannot do
    it.

    \b
    Examples:
      celery -A proj mailproxy pause --batch spring
      celery -A proj mailproxy pause --tenant acme
    """
    answer = pause(batch_code=batch_code, tenant=tenant, server=server, app=app_of(ctx))
    show_pause(Terminal.of(ctx), answer, is_json=is_json)
