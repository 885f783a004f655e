"""`manage.py mailproxy_setup`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from celery import current_app
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError
from django.http.request import validate_host

from celery_mailproxy.cli.tenant_setup import read_password, set_up, show_outcome, wanted_of
from celery_mailproxy.cli.terminal import plain
from celery_mailproxy.conf import readers as types
from celery_mailproxy.conf.settings import DEFAULT_SERVER, ServerSettings, Settings, load_settings
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.django.setup.mounting import attachments_path, sync_path
from celery_mailproxy.django.setup.smtp_account import smtp_account
from celery_mailproxy.errors import ConfigurationError, MailProxyError
from celery_mailproxy.proxy.provisioning import Plan, Wanted


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
        is_dry_run, is_json = options["dry_run"], options["json"]
        try:
            settings = load_settings(current_app)
            server = settings.server(options["server"])
            wanted = _wanted(settings, server, options)
            plan = set_up(None if is_json else terminal, server, wanted, is_dry_run=is_dry_run)
        except (MailProxyError, OSError) as exc:
            raise CommandError(plain(str(exc))) from exc
        notes = list(_notes(settings, wanted, plan))
        show_outcome(terminal, plan, notes, is_dry_run=is_dry_run, is_json=is_json)


def _wanted(settings: Settings, server: ServerSettings, options: dict[str, Any]) -> Wanted:
    given = {
        "host": options["smtp_host"],
        "port": options["smtp_port"],
        "user": options["smtp_user"],
        "password": read_password(options["smtp_password_file"]),
        "use_tls": options["use_tls"],
    }
    return wanted_of(
        settings,
        server,
        callback_url=options["callback_url"],
        smtp=smtp_account(given, mailer=options["mailer"]),
        sync_path=sync_path(),
        attachments_path=attachments_path(),
    )


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
