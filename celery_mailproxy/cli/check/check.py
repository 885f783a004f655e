"""`celery -A proj mailproxy check`."""

from __future__ import annotations

from typing import Any

import click

from ..command import MailProxyCommand, app_of, timeout_option
from ..terminal import Terminal
from .checkup import Checkup, Request
from .run import run_checkup

__all__ = ["command"]


def _http_url(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"must be a URL like http://127.0.0.1:9100/mail-proxy/sync, got {value!r}")
    return value


@click.command("check", cls=MailProxyCommand)
@click.option("--server", metavar="NAME", help="Only this one of mail_proxy_servers.")
@click.option("--tenant", metavar="ID", help="Check for this tenant, not the configured one.")
@click.option("--account", metavar="ID", help="Check for this SMTP account, not the configured one.")
@click.option("--send-to", metavar="ADDRESS", help="Send a real mail there, and wait until its delivery is reported.")
@click.option("--from", "from_email", metavar="ADDRESS", help="Its sender.  [default: mail_proxy_from_email]")
@click.option(
    "--callback-url",
    metavar="URL",
    callback=_http_url,
    help="The receiver's address as seen from here, path and all.",
)
@timeout_option("How long to wait for the mail's report.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, *, send_to: str | None, is_json: bool, **asked: Any) -> None:
    """Test each link of the chain, and say how to mend what fails.

    The application and its settings, the broker, the workers, the store; for
    each proxy its URL, API, token, tenant and account; and the way back: where
    the proxy posts its reports, with which token, and who answers there.
    Exit code 0 only if nothing failed. No secret is shown.

    \b
    Examples:
      celery -A proj mailproxy check
      celery -A proj mailproxy check --send-to me@example.com
    """
    terminal = Terminal.of(ctx)
    checkup = Checkup(app_of(ctx), Request(**asked))
    if not run_checkup(checkup, terminal, send_to=send_to, is_json=is_json):
        ctx.exit(1)
