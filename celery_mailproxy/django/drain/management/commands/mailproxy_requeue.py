"""`manage.py mailproxy_requeue`."""

from __future__ import annotations

from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError

from celery_mailproxy.django.backend.publishing import BROKER_ERRORS
from celery_mailproxy.django.drain.undecodable import requeue


class Command(BaseCommand):
    """Tries again what no worker could decode."""

    help = (
        "Put the tasks of django-celery-email that no worker could decode back where they came from. First let the "
        "workers accept them: the dead letters in the admin say why they could not."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            number = requeue(current_app._get_current_object())
        except BROKER_ERRORS as exc:
            raise CommandError(f"the broker cannot be reached: {type(exc).__name__}") from exc
        self.stdout.write(f"{number} task{'' if number == 1 else 's'} put back.")
