"""The Django application."""

from __future__ import annotations

from celery.signals import worker_init
from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

__all__ = ["MailProxyConfig"]


class MailProxyConfig(AppConfig):
    """Mails sent through genro-mail-proxy: their log, its admin, and the system checks."""

    name = "celery_mailproxy.django"
    label = "celery_mailproxy"
    verbose_name = _("Mail proxy")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Here, as Django asks: these import what may need every application. With the tasks comes the resolver of kept
        # contents.
        from . import checks, tasks  # noqa: F401
        from .setup.hiding import hide_store_url

        hide_store_url()
        worker_init.connect(tasks.configure_tasks, weak=False, dispatch_uid="celery_mailproxy.django.configure_tasks")
