"""`manage.py mailproxy_check`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from celery import Celery, current_app
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.cli.check.checkup import Checkup, Request
from celery_mailproxy.cli.check.links import Link, Outcome
from celery_mailproxy.cli.check.run import run_checkup
from celery_mailproxy.cli.terminal import Terminal, plain
from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.django.setup.mounting import sync_path
from celery_mailproxy.errors import MailProxyError


class Command(BaseCommand):
    """Tests each link of the chain."""

    help = (
        "Test each link of the chain and say how to fix what fails: the Celery app and its settings, the broker, the "
        "workers, the store; for each proxy its URL, API, token, tenant and account; and the URL and token with which "
        "the proxy posts its reports, and whether the receiver answers there. Exit code 0 only if nothing failed. "
        "Secrets are never shown."
    )
    # Wrong settings are what the first link reports.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--server", metavar="NAME", help="check only this one of MAIL_PROXY_SERVERS")
        parser.add_argument("--tenant", metavar="ID", help="check for this tenant, not the configured one")
        parser.add_argument("--account", metavar="ID", help="check for this SMTP account, not the configured one")
        parser.add_argument(
            "--send-to", metavar="ADDRESS", help="send a real email to this address and wait for its delivery report"
        )
        parser.add_argument(
            "--from",
            dest="from_email",
            metavar="ADDRESS",
            help="sender of that email (default: MAIL_PROXY_FROM_EMAIL, then DEFAULT_FROM_EMAIL)",
        )
        parser.add_argument(
            "--callback-url", metavar="URL", help="the receiver's URL as seen from this machine, including the path"
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="how long to wait for the report (default: %(default)g)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        terminal = terminal_of(self, options)
        names = ("server", "from_email", "callback_url")
        checkup = _Checkup(
            current_app._get_current_object(),
            Request(
                tenant_id=options["tenant"],
                account_id=options["account"],
                timeout_seconds=options["timeout"],
                **{name: options[name] for name in names},
            ),
        )
        try:
            is_fine = run_checkup(checkup, terminal, send_to=options["send_to"], is_json=options["json"])
        except MailProxyError as exc:
            raise CommandError(plain(str(exc))) from exc
        except KeyboardInterrupt:
            # The exit code of an interrupted command, and no traceback.
            raise SystemExit(130) from None
        if not is_fine:
            raise SystemExit(1)


class _Checkup(Checkup):
    """What is different about a Django project: where reports are taken, and what can be wrong there."""

    def __init__(self, app: Celery, request: Request) -> None:
        super().__init__(app, request)
        self._mounted = sync_path()

    @property
    def _settings(self) -> Settings:
        settings = super()._settings
        if self._mounted is None or self._mounted.endswith(settings.report_path):
            return settings
        return replace(settings, report_path=self._mounted)

    def round_trips(self, address: str, terminal: Terminal | None = None) -> Iterator[Link]:
        # A project's mails have Django's sender, and need no other.
        sender = self.request.from_email or self._settings.from_email or django_settings.DEFAULT_FROM_EMAIL
        self.request = replace(self.request, from_email=sender)
        yield from super().round_trips(address, terminal)

    def _note(self, link: Link) -> Link:
        return super()._note(_in_django(link))


def _in_django(link: Link) -> Link:
    """The link, with Django's own remedy where there is one."""
    if link.name == "application" and link.outcome is Outcome.WARNING:
        remedy = "Import your Celery app in the __init__.py of the project: from .celery import app as celery_app"
        return replace(
            link, found="no Celery app of this project is loaded; Celery's default app is in use", remedy=remedy
        )
    if link.name == "callback" and link.found.endswith("answered 400"):
        return replace(link, remedy="Add this host to ALLOWED_HOSTS, unless the application's log says more.")
    return link
