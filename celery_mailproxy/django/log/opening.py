"""`open_log`: the log, where the settings keep deliveries in Django's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...conf.settings import DJANGO_STORE, Settings

if TYPE_CHECKING:
    from .mail_log import MailLog

__all__ = ["has_log", "open_log"]


def has_log(settings: Settings) -> bool:
    """Whether mails are logged in Django's database."""
    return settings.store.startswith(DJANGO_STORE)


def open_log(settings: Settings) -> MailLog | None:
    """The log; None where another store keeps the deliveries."""
    if not has_log(settings):
        return None
    # On demand: models exist only where the application is installed, and a backend is used without it, too.
    from .mail_log import MailLog

    return MailLog(settings)
