"""Mails as callers give them."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.mail.message import MailMessage

BASE = {"from_email": "a@example.com", "to": ["b@example.com"]}


def mail(**arguments: Any) -> MailMessage:
    return MailMessage.from_arguments({**BASE, **arguments}, message_id="m1")
