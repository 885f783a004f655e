"""`celery -A proj mailproxy setup`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ..conf import readers as types
from ..conf.settings import DEFAULT_SERVER, load_settings
from ..errors import ConfigurationError
from ..proxy.provisioning import Plan, Wanted
from .command import MailProxyCommand, app_of
from .options import json_option
from .tenant_setup import read_password, set_up, show_outcome, wanted_of
from .terminal import Terminal

__all__ = ["command"]


def _url(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else types.http_url("the callback URL", value)
    except ConfigurationError as exc:
        raise click.BadParameter(str(exc)) from exc


@click.command("setup", cls=MailProxyCommand)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only show what would change.")
@click.option("--server", default=DEFAULT_SERVER, metavar="NAME", help="One of mail_proxy_servers.")
@click.option(
    "--callback-url",
    callback=_url,
    metavar="URL",
    help="Where the proxy reaches your receiver, such as http://worker.internal:9100.",
)
@click.option("--smtp-host", metavar="HOST", help="The SMTP server, as seen from the proxy.")
@click.option("--smtp-port", type=click.IntRange(1, 65535), metavar="PORT", help="Its port.  [default: 25]")
@click.option("--smtp-user", metavar="USER", help="The user to log in as.")
@click.option("--smtp-password-file", metavar="FILE", help="A file with the password; - is standard input.")
@click.option("--use-tls/--no-use-tls", default=None, help="TLS: from the start on port 465, else by STARTTLS.")
@json_option()
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    is_dry_run: bool,
    server: str,
    callback_url: str | None,
    smtp_password_file: str | None,
    is_json: bool,
    use_tls: bool | None,
    **smtp: Any,
) -> None:
    """Create or update the tenant and the SMTP account on the proxy.

    Their ids are mail_proxy_tenant and mail_proxy_account, the token with which
    the proxy calls you is mail_proxy_sync_token; mail_proxy_token must be the
    proxy's own token, not a tenant's. Whatever is not given stays as it is, and
    running it again changes nothing. No secret is shown. In a Django project,
    manage.py mailproxy_setup knows the SMTP server and the paths.

    \b
    Example:
      celery -A proj mailproxy setup --callback-url http://worker.internal:9100 \\
          --smtp-host smtp.example.com --smtp-port 587 --use-tls \\
          --smtp-user shop --smtp-password-file password.txt
    """
    terminal = Terminal.of(ctx)
    settings = load_settings(app_of(ctx))
    try:
        password = read_password(smtp_password_file)
    except OSError as exc:
        raise ConfigurationError(f"--smtp-password-file must be a file that can be read: {exc}") from exc
    given = {name.removeprefix("smtp_"): value for name, value in smtp.items()}
    account = {"password": password, "use_tls": use_tls, **given}
    one = settings.server(server)
    wanted = wanted_of(settings, one, callback_url=callback_url, smtp=account)
    plan = set_up(None if is_json else terminal, one, wanted, is_dry_run=is_dry_run)
    show_outcome(terminal, plan, list(_notes(wanted, plan)), is_dry_run=is_dry_run, is_json=is_json)


def _notes(wanted: Wanted, plan: Plan) -> Iterator[str]:
    """What is as it was asked for, and may still not work."""
    if not plan.is_active:
        yield "The tenant is not active: the proxy sends none of its emails. Activate it there."
    if wanted.sync_token is None:
        yield "mail_proxy_sync_auth is 'none': the tenant's client_auth was left as it is."
