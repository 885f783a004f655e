"""`mail_app` that mails whatever fails, and whatever is logged as an error, by the tasks of the package."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals as celery_signals

from .mail_app import app, note, send_via_proxy

__all__ = ["app"]


def complain(what: str) -> None:
    # Noted first: a circle is seen though none of its mails leaves.
    note(what="complaint", name=f"complaint:{what}", id="all")
    send_via_proxy.delay(to=["admin@example.com"], subject="Something failed", body=what)


@celery_signals.task_failure.connect
@celery_signals.task_retry.connect
def on_failure(sender: Any, **kwargs: Any) -> None:
    complain("task")


class MailHandler(logging.Handler):
    """As Django's `AdminEmailHandler`."""

    def emit(self, record: logging.LogRecord) -> None:
        complain("log")


@celery_signals.after_setup_logger.connect
def mail_errors(logger: logging.Logger, **kwargs: Any) -> None:
    logger.addHandler(MailHandler(logging.WARNING))
