"""`celery -A proj mailproxy audit`."""

from __future__ import annotations

from datetime import timedelta

import click

from ..runtime import get_runtime
from .audit_view import SPAN_PROBLEM, audit_in, read_span
from .command import MailProxyCommand, app_of
from .options import json_option
from .terminal import Terminal

__all__ = ["command"]


def _span(ctx: click.Context, option: click.Parameter, value: str) -> timedelta:
    span = read_span(value)
    if span is None:
        raise click.BadParameter(SPAN_PROBLEM)
    return span


@click.command("audit", cls=MailProxyCommand)
@click.option(
    "--since",
    "span",
    default="24h",
    show_default=True,
    callback=_span,
    metavar="SPAN",
    help="Count emails of that time, like 90m, 24h or 7d.",
)
@json_option()
@click.pass_context
def command(ctx: click.Context, span: timedelta, is_json: bool) -> None:
    """Compare the store with what the proxy has.

    Counts the emails that were accepted, how they ended, those that are open, and
    those that only one side knows. Changes nothing. Reads the whole store, and
    the proxy's list of each tenant. Exits with code 1 if any email is
    unaccounted for: overdue, or known to one side only.

    \b
    Example:
      celery -A proj mailproxy audit --since 7d
    """
    if not audit_in(get_runtime(app_of(ctx)), Terminal.of(ctx), span=span, is_json=is_json):
        ctx.exit(1)
