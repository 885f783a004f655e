"""Celery results that follow the mail."""
