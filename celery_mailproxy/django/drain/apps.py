"""The Django application that takes over django-celery-email's task."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["DrainConfig"]


class DrainConfig(AppConfig):
    """Registers the task, and keeps its dead letters."""

    name = "celery_mailproxy.django.drain"
    label = "celery_mailproxy_drain"
    verbose_name = _("Mail proxy: drain")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Not before: there are models among what these import. And also for workers that name their task modules
        # themselves, and never look for others.
        from . import tasks, undecodable

        undecodable.keep_undecodable(tasks.TASK_NAME)
