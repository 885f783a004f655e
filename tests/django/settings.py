"""The Django project of the tests. `DJANGO_TEST_DATABASE` names another database than SQLite, as a JSON dict."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "celery_mailproxy.django",
    "celery_mailproxy.django.drain",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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
ROOT_URLCONF = "tests.django.urls"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# A file also in tests: the threads of one process have a connection each, to the same database.
_SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": str(Path(__file__).with_name("tests.sqlite3")),
    "OPTIONS": {"timeout": 20},
    "TEST": {"NAME": str(Path(tempfile.gettempdir(), f"celery-mailproxy-tests-{os.getpid()}.sqlite3"))},
}
DATABASES = {"default": json.loads(os.environ.get("DJANGO_TEST_DATABASE", "null")) or _SQLITE}

if DATABASES["default"]["ENGINE"].endswith(".mysql"):
    import pymysql

    # Django looks for mysqlclient and its version; the tests do with a driver that needs no compiler.
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()

if "DJANGO_TEST_MAIL_STORAGE" in os.environ:
    from django.conf import global_settings

    STORAGES = {
        **global_settings.STORAGES,
        "mail_proxy": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": os.environ["DJANGO_TEST_MAIL_STORAGE"]},
        },
    }

if "DJANGO_TEST_SMTP_PORT" in os.environ:
    # The legacy transport's server.
    EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ["DJANGO_TEST_SMTP_PORT"])
