"""`celery -A proj mailproxy check`."""

from __future__ import annotations

from typing import Any

import click

from ..command import MailProxyCommand, app_of
from ..options import json_option, sender_options, timeout_option
from ..terminal import Terminal
from .checkup import Checkup, Request
from .run import run_checkup

__all__ = ["command"]


def _http_url(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"must be a URL like http://127.0.0.1:9100/mail-proxy/sync, got {value!r}")
    return value


@click.command("check", cls=MailProxyCommand)
@click.option("--server", metavar="NAME", help="Check only this one of mail_proxy_servers.")
@click.option(
    "--send-to", metavar="ADDRESS", help="Send a real email to this address and wait for its delivery report."
)
@sender_options
@click.option(
    "--callback-url",
    metavar="URL",
    callback=_http_url,
    help="The receiver's URL as seen from this machine, including the path.",
)
@timeout_option("How long to wait for the email's delivery report.")
@json_option()
@click.pass_context
def command(ctx: click.Context, /, *, send_to: str | None, is_json: bool, **asked: Any) -> None:
    """Test each link of the chain and say how to fix what fails.

    The links are the application and its settings, the broker, the workers and
    the store; for each proxy its URL, API, token, tenant and account; and the
    route back: where the proxy posts its reports, with which token, and what
    answers there. Exits with code 0 only if nothing failed. Shows no secrets.

    \b
    Examples:
      celery -A proj mailproxy check
      celery -A proj mailproxy check --send-to me@example.com
    """
    terminal = Terminal.of(ctx)
    checkup = Checkup(app_of(ctx), Request(**asked))
    if not run_checkup(checkup, terminal, send_to=send_to, is_json=is_json):
        ctx.exit(1)
