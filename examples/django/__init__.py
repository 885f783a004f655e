"""A shop that mails with Django: `python -m examples.django` runs it, README.md explains it."""

from __future__ import annotations

# So that @shared_task and the email backend find the application, in the web process too.
from .celery import app as celery_app

__all__ = ["celery_app"]
