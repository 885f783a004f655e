"""`manage.py mailproxy_prune`."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from celery_mailproxy.cli.terminal import plain
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.django.log.database import explain
from celery_mailproxy.django.log.models import EmailLog, EmailLogQuerySet
from celery_mailproxy.django.log.pruning import PRUNED_AT_ONCE, prune_batch
from celery_mailproxy.django.log.routing import log_alias


class Command(BaseCommand):
    """Deletes logged mails."""

    help = (
        "Delete logged emails with their history, oldest first: those that have expired "
        "(MAIL_PROXY_STORE_TTL_SECONDS), or with --days those that have ended and have not changed for so many days."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=_days, metavar="N", help="delete emails last changed more than N days ago")
        parser.add_argument("--pending", action="store_true", help="with --days: also emails that have not ended")
        parser.add_argument(
            "--batch", type=_positive, default=PRUNED_AT_ONCE, metavar="N", help="emails a transaction (%(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only say how many emails would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["pending"] and options["days"] is None:
            raise CommandError("--pending needs --days: expired emails are deleted in any case")
        alias = log_alias()
        rows = _chosen(alias, options["days"], includes_pending=options["pending"])
        try:
            self._prune(rows, options)
        except Error as exc:
            raise CommandError(plain(str(explain(exc, alias)))) from exc

    def _prune(self, rows: EmailLogQuerySet, options: dict[str, Any]) -> None:
        if options["dry_run"]:
            self.stdout.write(f"{_mails(rows.count())} would be deleted.")
            return
        number = 0
        while deleted := prune_batch(rows, limit=options["batch"]):
            number += deleted
            if options["verbosity"] > 1:
                self.stdout.write(f"{_mails(number)} deleted so far")
            if deleted < options["batch"]:
                break
        self.stdout.write(f"{_mails(number)} deleted.")


def _chosen(alias: str, days: float | None, *, includes_pending: bool) -> EmailLogQuerySet:
    logs = EmailLog.objects.using(alias)
    if days is None:
        return logs.expired().order_by("expires_at")
    old = logs.filter(updated_at__lt=utcnow() - timedelta(days=days)).order_by("updated_at")
    return old if includes_pending else old.ended()


def _mails(number: int) -> str:
    return f"{number} email{'' if number == 1 else 's'}"


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= 36500:
        raise ArgumentTypeError(f"must be a number of days from 0 to 36500, got {text!r}")
    return days


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)
