"""`mail_app` with a mail task from before the proxy, which sends by SMTP; it is migrated."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from typing import Any

from celery_mailproxy.migration import migrate
from celery_mailproxy.migration.breaker import Breaker
from celery_mailproxy.migration.routing import Router

from .mail_app import app, note, noted
from .waiting import PATIENCE_SECONDS

__all__ = ["app", "send_receipt"]

# What is set in the store holds for the next mail: no test has to wait until a worker looks again.
Router.share_seconds = Breaker.state_seconds = 0.0


@app.task(bind=True, name="shop.send_receipt", acks_late=True, reject_on_worker_lost=True, max_retries=None)
def send_receipt(self: Any, number: int, address: str) -> str:
    """As a project has it: SMTP, and another try after a while."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.com", address, f"Receipt {number}"
    mail.set_content("Thank you.")
    try:
        with smtplib.SMTP("127.0.0.1", int(os.environ["TEST_SMTP_PORT"]), timeout=PATIENCE_SECONDS) as smtp:
            smtp.send_message(mail)
    except smtplib.SMTPRecipientsRefused as exc:
        if next(iter(exc.recipients.values()))[0] >= 500:
            raise
        raise self.retry(exc=exc, countdown=0.5) from exc
    except OSError as exc:
        raise self.retry(exc=exc, countdown=0.5) from exc
    note(what="smtp", name="smtp", id=self.request.id)
    return "sent"


def receipt(number: int, address: str) -> dict[str, Any]:
    """The same mail for the proxy."""
    callbacks = {f"on_{tag}": noted.s(tag=tag) for tag in ("sent", "error", "deferred")}
    return {"subject": f"Receipt {number}", "body": "Thank you.\n", "to": [address], **callbacks}


migrate(send_receipt, to_message=receipt)
