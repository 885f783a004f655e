"""The log of mails in Django's admin; `admin.autodiscover` imports this package."""

from __future__ import annotations

from .mail_admin import ACTION_LIMIT, SEARCH_LIMIT, EmailLogAdmin
from .suppressed_admin import SuppressedEmailAdmin

__all__ = ["ACTION_LIMIT", "SEARCH_LIMIT", "EmailLogAdmin", "SuppressedEmailAdmin"]
