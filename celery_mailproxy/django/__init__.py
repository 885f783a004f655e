"""celery-mailproxy for Django: put `celery_mailproxy.django` into INSTALLED_APPS and choose the e-mail backend.

    EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"

`send_mail` is Django's own with the arguments of a mail proxy besides (`on_sent=…`, `related=…`, …).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .mail import send_mail

__all__ = ["send_mail"]


if not TYPE_CHECKING:
    # Hidden from type checkers: to them it would make every misspelt name Any.
    def __getattr__(name: str) -> Any:
        # On demand: Django imports this package before its applications are ready.
        if name == "send_mail":
            from .mail import send_mail

            return send_mail
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
