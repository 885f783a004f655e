"""`manage.py mailproxy_forget`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.cli.erasure import ADDRESS_PROBLEM, LEFT, erase_in, read_address
from celery_mailproxy.cli.terminal import plain
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.runtime import get_runtime


class Command(BaseCommand):
    """Erases an address from the log of mails."""

    help = (
        "Erase a mail address from everything that has ended: recipients, subjects of mails to it alone, kept contents "
        "and reasons that hold it, arguments of callbacks. What still needs it is left and named: then the exit code "
        "is 3. Run it again when that has ended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("address", metavar="ADDRESS", help="the address; - reads it from standard input")
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only say what would be done")
        parser.add_argument("--keep-suppressed", action="store_true", help="leave it on the suppression list")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        sought = read_address(options["address"])
        if sought is None:
            raise CommandError(f"ADDRESS {ADDRESS_PROBLEM}")
        terminal = terminal_of(self, options)
        try:
            store = get_runtime(current_app._get_current_object()).store
            is_clean = erase_in(
                store,
                sought,
                terminal,
                is_json=options["json"],
                is_dry_run=options["dry_run"],
                keeps_suppressed=options["keep_suppressed"],
            )
        except MailProxyError as exc:
            raise CommandError(plain(str(exc))) from exc
        if not is_clean:
            raise SystemExit(LEFT)
