"""Before the move: django-celery-email, by SMTP."""

from __future__ import annotations

import django

from .settings_common import *  # noqa: F403 - as projects do
from .settings_common import SMTP_HOST, SMTP_PORT

INSTALLED_APPS = ["djcelery_email"]

if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {"BACKEND": "djcelery_email.backends.CeleryEmailBackend", "OPTIONS": {"using": "smtp"}},
        "smtp": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": SMTP_HOST, "port": SMTP_PORT, "timeout": 30},
        },
    }
else:
    EMAIL_BACKEND = "djcelery_email.backends.CeleryEmailBackend"
    EMAIL_HOST, EMAIL_PORT, EMAIL_TIMEOUT = SMTP_HOST, SMTP_PORT, 30

# By default it waits three minutes, and gives a mail up after three tries.
CELERY_EMAIL_TASK_CONFIG = {"default_retry_delay": 5, "max_retries": 1000}
