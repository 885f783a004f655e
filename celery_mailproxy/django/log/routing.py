"""`log_alias`: which of the project's databases has the log."""

from __future__ import annotations

from django.db import router

from .models import EmailLog

__all__ = ["log_alias"]


def log_alias() -> str:
    """The alias of the database that the log is written to; also read from, for a replica lags behind."""
    return router.db_for_write(EmailLog)
