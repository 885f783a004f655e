"""Mails in the log, and the admin's pages of them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from celery_mailproxy.django.models import EmailLog, EmailLogEvent

__all__ = [
    "DETAIL",
    "LIST",
    "SOURCE",
    "client_of",
    "detail",
    "new_event",
    "new_mail",
    "page",
    "posted",
    "said",
    "shown",
]

LIST = "admin:celery_mailproxy_emaillog_changelist"
DETAIL = "admin:celery_mailproxy_emaillog_change"

SOURCE = (
    b"From: Shop <shop@example.com>\nTo: ann@example.com\nSubject: Your invoice\nMIME-Version: 1.0\n"
    b"Message-ID: <first@example.com>\nDate: Thu, 01 Jan 2026 10:00:00 +0000\n"
    b'Content-Type: multipart/alternative; boundary="b"\n\n'
    b"--b\nContent-Type: text/plain; charset=utf-8\n\nThank you.\n"
    b"--b\nContent-Type: text/html; charset=utf-8\n\n<html><head><title>x</title></head>"
    b'<body><script>alert(1)</script><p>Thank <a href="http://example.com/">you</a>.</p></body></html>\n--b--\n'
)


def new_mail(message_id: str = "m1", **fields: Any) -> EmailLog:
    now = datetime.now(timezone.utc)
    values: dict[str, Any] = {
        "status": "sent",
        "is_known": True,
        "created_at": now,
        "updated_at": now,
        "expires_at": now + timedelta(days=30),
        "sender": "shop@example.com",
        "recipients": "ann@example.com",
        "recipient_count": 1,
        "subject": f"Subject of {message_id}",
        "tenant_id": "acme",
        "account_id": "main",
    }
    return EmailLog.objects.create(message_id=message_id, **{**values, **fields})


def new_event(mail: EmailLog, kind: str, **fields: Any) -> EmailLogEvent:
    position = mail.events.count()
    values: dict[str, Any] = {
        "at": mail.created_at,
        "claim": "task",
        "is_dispatched": True,
        "key": f"{kind}:{position}",
    }
    return EmailLogEvent.objects.create(log=mail, position=position, kind=kind, **{**values, **fields})


def client_of(*permissions: str) -> Client:
    """A member of the staff with these permissions."""
    user = User.objects.create(username="staff", is_staff=True)
    for codename in permissions:
        user.user_permissions.add(Permission.objects.get(codename=codename))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, url: str, status_code: int = 200, **query: str) -> str:
    response = client.get(url, query)
    assert response.status_code == status_code, response.content[:500]
    return response.content.decode()


def detail(mail: EmailLog, view: str = "change", *args: str) -> str:
    return reverse(f"admin:celery_mailproxy_emaillog_{view}", args=[mail.pk, *args])


def shown(text: str) -> list[str]:
    """The ids of the mails of a list, in order."""
    return re.findall(r"<a href[^>]*>Subject of ([\w-]+)</a>", text)


def posted(client: Client, url: str, **data: Any) -> str:
    response = client.post(url, data, follow=True)
    assert response.status_code == 200, response.content[:500]
    return response.content.decode()


def said(text: str) -> list[str]:
    """The messages on top of a page."""
    messages = "".join(re.findall(r'<ul class="messagelist">.*?</ul>', text, re.S))
    return [re.sub(r"\s+", " ", each).strip() for each in re.findall(r"<li class=[^>]*>(.*?)</li>", messages, re.S)]
