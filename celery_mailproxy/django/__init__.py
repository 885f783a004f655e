"""celery-mailproxy for Django: put `celery_mailproxy.django` into INSTALLED_APPS and choose the e-mail backend.

    EMAIL_BACKEND = "celery_mailproxy.django.backends.EmailBackend"

`send_mail` is Django's own with the arguments of a mail proxy besides (`on_sent=…`, `related=…`, …).
"""

from __future__ import annotations

from .mail import send_mail

__all__ = ["send_mail"]
