"""`manage.py mailproxy_setup`."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError
from django.http.request import validate_host

from celery_mailproxy.cli.terminal import Terminal, plain
from celery_mailproxy.conf import readers as types
from celery_mailproxy.conf.settings import DEFAULT_SERVER, ServerSettings, Settings, Unset, load_settings
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.django.setup.mounting import attachments_path, sync_path
from celery_mailproxy.django.setup.plan_view import show_plan
from celery_mailproxy.django.setup.smtp_account import smtp_account
from celery_mailproxy.errors import ConfigurationError, MailProxyError
from celery_mailproxy.proxy.administration import ProxyAdministration
from celery_mailproxy.proxy.provisioning import Plan, Wanted, apply, make_plan


class Command(BaseCommand):
    """Creates or updates the project's tenant and SMTP account."""

    help = (
        "Create or update this project's tenant and its SMTP account on the proxy, from the settings: MAIL_PROXY_URL, "
        "MAIL_PROXY_TOKEN (the proxy's own, not a tenant's), MAIL_PROXY_TENANT, MAIL_PROXY_ACCOUNT, "
        "MAIL_PROXY_SYNC_TOKEN (the first, where there are several). The SMTP server is Django's: MAILERS, or "
        "EMAIL_HOST and its like. Whatever is not set stays as it is. Running it again changes nothing. No secret is "
        "shown."
    )
    # It runs before the project is complete.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only show what would change")
        parser.add_argument("--server", default=DEFAULT_SERVER, metavar="NAME", help="one of MAIL_PROXY_SERVERS")
        parser.add_argument(
            "--callback-url",
            type=_url,
            metavar="URL",
            help="where the proxy reaches this application, e.g. https://app.example.com; the paths are those of the "
            "included URLs, else those of the worker's listener",
        )
        parser.add_argument("--mailer", metavar="ALIAS", help="which of MAILERS has the SMTP server (Django 6.1)")
        parser.add_argument("--smtp-host", metavar="HOST", help="the SMTP server, as seen from the proxy")
        parser.add_argument("--smtp-port", type=_port, metavar="PORT")
        parser.add_argument("--smtp-user", metavar="USER")
        parser.add_argument(
            "--smtp-password-file", metavar="FILE", help="a file with the password; - is standard input"
        )
        parser.add_argument(
            "--use-tls", action=BooleanOptionalAction, help="TLS: from the start on port 465, else by STARTTLS"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        terminal = terminal_of(self, options)
        try:
            settings = load_settings(current_app)
            server = settings.server(options["server"])
            wanted = _wanted(settings, server, options)
            proxy = ProxyAdministration(server)
            try:
                plan = make_plan(proxy, wanted)
                if not options["json"]:
                    _show(terminal, proxy, plan)
                if not options["dry_run"]:
                    apply(proxy, wanted, plan)
            finally:
                proxy.close()
        except (MailProxyError, OSError) as exc:
            raise CommandError(plain(str(exc))) from exc
        self._conclude(terminal, settings, wanted, plan, options)

    def _conclude(
        self, terminal: Terminal, settings: Settings, wanted: Wanted, plan: Plan, options: dict[str, Any]
    ) -> None:
        notes = list(_notes(settings, wanted, plan))
        if options["json"]:
            rows = [row.to_json() for row in plan.rows]
            answer = {"changes": plan.changes, "is_dry_run": options["dry_run"], "rows": rows, "notes": notes}
            self.stdout.write(json.dumps(answer))
            return
        terminal.line(_verdict(plan, is_dry_run=options["dry_run"]))
        for note in notes:
            terminal.line(f"{terminal.symbol('→', '->')} {note}")


def _wanted(settings: Settings, server: ServerSettings, options: dict[str, Any]) -> Wanted:
    if server.tenant is None or server.account is None:
        missing = "tenant" if server.tenant is None else "account"
        raise ConfigurationError(f"mail_proxy_{missing} must be set: it is the id under which it will be created.")
    given = {
        "host": options["smtp_host"],
        "port": options["smtp_port"],
        "user": options["smtp_user"],
        "password": _password(options["smtp_password_file"]),
        "use_tls": options["use_tls"],
    }
    return Wanted(
        tenant_id=server.tenant,
        account_id=server.account,
        callback_url=options["callback_url"],
        sync_path=sync_path() or settings.report_path,
        attachments_path=attachments_path() or settings.attachments_path,
        sync_token=_sync_token(settings, server.tenant),
        smtp=smtp_account(given, mailer=options["mailer"]),
    )


def _sync_token(settings: Settings, tenant_id: str) -> str | None:
    """The token that the tenant is to send; the new one while two are good. None where anybody may report."""
    tokens = settings.sync_token
    if settings.sync_auth == "none":
        return None
    # Unset, or other tenants' only: this one's reports would all be refused.
    found = () if isinstance(tokens, Unset) else tokens.get(tenant_id) or tokens.get(None) or ()
    if not found:
        raise ConfigurationError(
            f"mail_proxy_sync_token must hold a token for the tenant {tenant_id!r}: set it to a long random text."
        )
    return found[0]


def _password(path: str | None) -> str | None:
    if path is None:
        return None
    text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    if not (password := text.strip("\r\n")):
        raise ConfigurationError(f"--smtp-password-file must hold a password, and {path} is empty.")
    return password


def _show(terminal: Terminal, proxy: ProxyAdministration, plan: Plan) -> None:
    terminal.line(f"{proxy.server.url} ({proxy.api.name} API)")
    show_plan(terminal, plan)


def _verdict(plan: Plan, *, is_dry_run: bool) -> str:
    fields = f"{plan.changes} field{'' if plan.changes == 1 else 's'}"
    again = ""
    if plan.sends_again:
        again = f" The password {'would be' if is_dry_run else 'was'} sent again: this proxy does not show it."
    if not plan.changes:
        return f"Nothing to change.{again}"
    return f"{fields} would change. Nothing was written.{again}" if is_dry_run else f"{fields} changed.{again}"


def _notes(settings: Settings, wanted: Wanted, plan: Plan) -> Iterator[str]:
    """What is as it was asked for, and may still not work."""
    if not plan.is_active:
        yield "The tenant is not active: the proxy sends none of its emails. Activate it there."
    if wanted.sync_token is None:
        yield "MAIL_PROXY_SYNC_AUTH is 'none': the tenant's client_auth was left as it is."
    if sync_path() is None:
        yield "celery_mailproxy.django.urls is not included: the paths are those of a worker's listener."
    elif wanted.callback_url and not _is_allowed(urlsplit(wanted.callback_url).hostname or ""):
        yield "The callback URL's host is not in ALLOWED_HOSTS: Django would refuse the delivery reports."


def _is_allowed(host: str) -> bool:
    hosts = django_settings.ALLOWED_HOSTS
    if django_settings.DEBUG and not hosts:
        hosts = [".localhost", "127.0.0.1", "[::1]"]
    return validate_host(f"[{host}]" if ":" in host else host, hosts)


def _url(text: str) -> str:
    try:
        return types.http_url("the callback URL", text)
    except ConfigurationError as exc:
        raise ArgumentTypeError(str(exc)) from exc


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ArgumentTypeError(f"must be a port from 1 to 65535, got {text!r}")
    return int(text)
