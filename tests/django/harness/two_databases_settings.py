"""The Django project of the tests with the log in a database of its own, as docs/how-to/django.md has it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.django.settings import *  # noqa: F403
from tests.django.settings import _SQLITE

DATABASES = {
    name: {
        **_SQLITE,
        "TEST": {"NAME": str(Path(tempfile.gettempdir(), f"celery-mailproxy-tests-{name}-{os.getpid()}.sqlite3"))},
    }
    for name in ("default", "logs")
}


class LogRouter:
    """What the log needs goes to `logs`, everything else to `default`, and neither has the other's tables."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "logs" if model._meta.app_label == "celery_mailproxy" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "logs") == (app_label == "celery_mailproxy")


DATABASE_ROUTERS = [LogRouter()]
