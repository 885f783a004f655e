"""The shop's settings. Its data, broker included, live in one folder, so that nothing has to be installed for it."""

from __future__ import annotations

import os
from pathlib import Path

import django
from django.conf import global_settings

FOLDER = Path(os.environ["SHOP_FOLDER"])

SECRET_KEY = "only for this example"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "examples.django.urls"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "celery_mailproxy.django",
    "examples.django.shop",
]

# Mail

if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "celery_mailproxy.django.backends.EmailBackend"}}
else:
    EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"
DEFAULT_FROM_EMAIL = "The Teapot Shop <shop@example.com>"

MAIL_PROXY_URL = os.environ["SHOP_PROXY_URL"]
MAIL_PROXY_TENANT = "shop"
MAIL_PROXY_ACCOUNT = "main"
MAIL_PROXY_TOKEN = os.environ["SHOP_PROXY_TOKEN"]
MAIL_PROXY_SYNC_TOKEN = os.environ["SHOP_SYNC_TOKEN"]
MAIL_PROXY_LOG_CONTENT = True

# Celery

CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT = "examples.folder_broker:Transport"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "data_folder_in": str(FOLDER / "broker"),
    "data_folder_out": str(FOLDER / "broker"),
    "control_folder": str(FOLDER / "control"),
    "polling_interval": 0.1,
}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

# What every project has

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "shop.sqlite3",
        "OPTIONS": {"timeout": 20},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Large mails are kept here until they have ended: not among uploads, which web servers publish.
STORAGES = {
    **global_settings.STORAGES,
    "mail_proxy": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": FOLDER / "mails"},
    },
}
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
