"""`manage.py mailproxy_check`."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from celery import Celery, current_app
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.cli.check_view import show_links, show_verdict
from celery_mailproxy.cli.checkup import Checkup, Request
from celery_mailproxy.cli.follow import Followed, follow, follow_on
from celery_mailproxy.cli.links import Link, Outcome
from celery_mailproxy.cli.terminal import Terminal, plain
from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.django.setup.mounting import sync_path
from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.runtime import get_runtime


class Command(BaseCommand):
    """Tests each link of the chain."""

    help = (
        "Test each link of the chain, and say how to fix what fails: the Celery app and its settings, the broker, the "
        "workers, the store; for each proxy its URL, API, token, tenant and account; and the way back: where the proxy "
        "posts its reports, with which token, and who answers there. Exit code 0 only if nothing failed. No secret is "
        "shown."
    )
    # Wrong settings are what the first link reports.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--server", metavar="NAME", help="only this one of MAIL_PROXY_SERVERS")
        parser.add_argument("--tenant", metavar="ID", help="check for this tenant, not the configured one")
        parser.add_argument("--account", metavar="ID", help="check for this SMTP account, not the configured one")
        parser.add_argument("--send-to", metavar="ADDRESS", help="send a real mail there, and wait for its report")
        parser.add_argument(
            "--from",
            dest="from_email",
            metavar="ADDRESS",
            help="its sender (MAIL_PROXY_FROM_EMAIL, else DEFAULT_FROM_EMAIL)",
        )
        parser.add_argument(
            "--callback-url", metavar="URL", help="the receiver's address as seen from here, path and all"
        )
        parser.add_argument(
            "--timeout",
            type=float,
            default=60.0,
            metavar="SECONDS",
            help="how long to wait for it (%(default)g)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        terminal = terminal_of(self, options)
        names = ("server", "tenant", "account", "from_email", "callback_url")
        checkup = _Checkup(
            current_app._get_current_object(),
            Request(timeout_seconds=options["timeout"], **{name: options[name] for name in names}),
        )
        try:
            self._check(checkup, terminal, send_to=options["send_to"], is_json=options["json"])
        except MailProxyError as exc:
            raise CommandError(plain(str(exc))) from exc
        except KeyboardInterrupt:
            # The exit code of an interrupted command, and no traceback.
            raise SystemExit(130) from None
        if any(link.outcome is Outcome.FAILED for link in checkup.found):
            raise SystemExit(1)

    def _check(self, checkup: _Checkup, terminal: Terminal, *, send_to: str | None, is_json: bool) -> None:
        show: Callable[..., None] = (lambda *args, **kwargs: None) if is_json else partial(show_links, terminal)
        show(list(checkup.links()))
        if send_to:
            if not is_json:
                terminal.line(f"Sending a mail to {plain(send_to)}")
            show(list(checkup.round_trips(send_to, partial(_watch, checkup, terminal, is_json))), with_header=False)
        if is_json:
            is_fine = not any(link.outcome is Outcome.FAILED for link in checkup.found)
            self.stdout.write(json.dumps({"ok": is_fine, "links": [link.to_json() for link in checkup.found]}))
        else:
            show_verdict(terminal, checkup.found)


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

    def round_trips(self, address: str, watch: Callable[[str], Followed]) -> Iterator[Link]:
        # A project's mails have Django's sender, and need no other.
        sender = self.request.from_email or self._settings.from_email or django_settings.DEFAULT_FROM_EMAIL
        self.request = replace(self.request, from_email=sender)
        yield from super().round_trips(address, watch)

    def _note(self, link: Link) -> Link:
        return super()._note(_in_django(link))


def _in_django(link: Link) -> Link:
    """The link, with Django's own remedy where there is one."""
    if link.name == "application" and link.outcome is Outcome.WARNING:
        remedy = "Import your Celery app in the __init__.py of the project: from .celery import app as celery_app"
        return replace(link, found="none of the project's own is loaded: these are Celery's defaults", remedy=remedy)
    if link.name == "callback" and link.found.endswith("answered 400"):
        return replace(link, remedy="Add this host to ALLOWED_HOSTS, unless the application's log says more.")
    return link


def _watch(checkup: Checkup, terminal: Terminal, is_json: bool, message_id: str) -> Followed:
    wait: Callable[..., Followed] = follow if is_json else partial(follow_on, terminal)
    store = get_runtime(checkup.app).store
    return wait(store, message_id, timeout_seconds=checkup.request.timeout_seconds, stop_at=_is_settled)


def _is_settled(status: Status) -> bool:
    # The proxy's next try is minutes away: a deferred mail says enough.
    return status.is_end or status is Status.DEFERRED
