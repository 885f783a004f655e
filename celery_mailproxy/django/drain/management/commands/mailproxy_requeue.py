"""`manage.py mailproxy_requeue`."""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.django.drain.undecodable import QUEUE, requeue
from celery_mailproxy.django.publishing import BROKER_TROUBLE


class Command(BaseCommand):
    """Tries again what no worker could decode."""

    help = (
        f"Put the tasks of django-celery-email that no worker could decode, and that wait in the queue {QUEUE}, back "
        "where they came from. First let the workers accept them: see the reasons of the dead letters in the admin."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            number = requeue(current_app._get_current_object())
        except BROKER_TROUBLE as exc:
            raise CommandError(f"the broker cannot be reached: {type(exc).__name__}") from exc
        self.stdout.write(f"{number} task{'' if number == 1 else 's'} put back.")
