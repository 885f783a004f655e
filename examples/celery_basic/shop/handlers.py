"""Signal handlers: told of every mail of this application, whoever sent it."""

from __future__ import annotations

from typing import Any

from celery.utils.log import get_task_logger

from celery_mailproxy.dispatch import signals

logger = get_task_logger(__name__)


@signals.mail_sent.connect
def count_as_sent(report: Any, delivery: Any, **kwargs: Any) -> None:
    seconds = (report.at - delivery.created_at).total_seconds() if delivery else 0.0
    logger.info("mail %s was sent after %.1f s", report.message_id, max(0.0, seconds))


@signals.mail_error.connect
def raise_the_alarm(report: Any, **kwargs: Any) -> None:
    # Not the reason: it may quote an address, and a log is read by many.
    logger.warning("mail %s was given up", report.message_id)
