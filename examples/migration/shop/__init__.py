"""A Django project before and after its move: the same code, with `settings_old` and with `settings_new`."""

from .celery import app as celery_app

__all__ = ["celery_app"]
