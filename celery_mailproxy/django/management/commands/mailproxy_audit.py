"""`manage.py mailproxy_audit`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.cli.audit_view import SPAN_PROBLEM, audit_in, read_span
from celery_mailproxy.cli.terminal import plain
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.runtime import get_runtime


class Command(BaseCommand):
    """Compares the log of mails with what the proxy has."""

    help = (
        "Count the emails that were accepted, how they ended, those that are open, and those that only the log or only "
        "the proxy knows. Changes nothing. Exits with code 1 if any email is unaccounted for."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", type=_span, default="24h", metavar="SPAN", help="count emails of that time (%(default)s)"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            runtime = get_runtime(current_app._get_current_object())
            terminal = terminal_of(self, options)
            is_clean = audit_in(runtime, terminal, span=options["since"], is_json=options["json"])
        except MailProxyError as exc:
            raise CommandError(plain(str(exc))) from exc
        if not is_clean:
            raise SystemExit(1)


def _span(text: str) -> timedelta:
    span = read_span(text)
    if span is None:
        raise ArgumentTypeError(SPAN_PROBLEM)
    return span
