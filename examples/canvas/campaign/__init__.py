"""Tasks that go on when a mail has been delivered."""

from .celery import app

__all__ = ["app"]
