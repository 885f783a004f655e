"""After the move: the proxy for a share of the mails, SMTP for the rest, and both for what the old side has queued."""

from __future__ import annotations

import os

import django

from .settings_common import *  # noqa: F403 - as projects do
from .settings_common import FOLDER, SMTP_HOST, SMTP_PORT

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "celery_mailproxy.django",
    "celery_mailproxy.django.drain",
]

EMAIL_BACKEND = "celery_mailproxy.django.backends.MigrationEmailBackend"
EMAIL_HOST, EMAIL_PORT, EMAIL_TIMEOUT = SMTP_HOST, SMTP_PORT, 30

MAIL_PROXY_MIGRATION = {"share": 0.0, "sticky": "recipient"}
MAIL_PROXY_URL = os.environ["SHOP_PROXY_URL"]
MAIL_PROXY_TENANT = "shop"
MAIL_PROXY_ACCOUNT = "main"
MAIL_PROXY_TOKEN = os.environ["SHOP_PROXY_TOKEN"]
MAIL_PROXY_SYNC_TOKEN = os.environ["SHOP_SYNC_TOKEN"]
MAIL_PROXY_RETRY_MAX_SECONDS = 2

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "shop.sqlite3",
        "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"} if django.VERSION >= (5, 1) else {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
