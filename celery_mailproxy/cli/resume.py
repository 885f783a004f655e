"""`celery -A proj mailproxy resume`."""

from __future__ import annotations

import click

from ..control.pausing import resume
from .command import MailProxyCommand, app_of
from .options import json_option
from .pausing import batch_option, place_options, show_pause
from .terminal import Terminal

__all__ = ["command"]


@click.command("resume", cls=MailProxyCommand)
@batch_option
@place_options
@json_option()
@click.pass_context
def command(ctx: click.Context, batch_code: str | None, tenant: str | None, server: str, is_json: bool) -> None:
    """Let the proxy go on with what was paused.

    While all of a tenant is paused, no batch of it can be resumed alone.

    \b
    Examples:
      celery -A proj mailproxy resume --batch spring
      celery -A proj mailproxy resume
    """
    answer = resume(batch_code=batch_code, tenant=tenant, server=server, app=app_of(ctx))
    show_pause(Terminal.of(ctx), answer, is_json=is_json)
