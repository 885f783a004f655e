"""A shop that tells its customers about their orders, and learns what became of each mail."""

from .celery import app

__all__ = ["app"]
