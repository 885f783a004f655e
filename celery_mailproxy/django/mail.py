"""`send_mail`: Django's, with what can be said to a mail proxy besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core import mail as django_mail
from django.core.mail import EmailMultiAlternatives

__all__ = ["send_mail"]


def send_mail(
    subject: str,
    message: str,
    from_email: str | None,
    recipient_list: Sequence[str],
    fail_silently: bool = False,
    auth_user: str | None = None,
    auth_password: str | None = None,
    connection: Any = None,
    html_message: str | None = None,
    *,
    using: str | None = None,
    on_sent: Any = None,
    on_error: Any = None,
    on_deferred: Any = None,
    on_bounced: Any = None,
    priority: int | str | None = None,
    tenant_id: str | None = None,
    account_id: str | None = None,
    server: str | None = None,
    batch_code: str | None = None,
    send_at: Any = None,
    expires_at: Any = None,
    metadata: Any = None,
    tags: Any = None,
    message_id: str | None = None,
    return_path: str | None = None,
    related: Any = None,
) -> Any:
    """Send a mail by the configured backend; what the backend answers, which is 1 where the mail is on its way.

    The arguments up to `using` are those of Django's `send_mail`; `auth_user` and `auth_password` have no meaning to a
    mail proxy, and are never kept. The others are for `celery_mailproxy.django.backends.EmailBackend`, and are what
    `EmailMessage.mail_proxy` may hold; another backend (Django's tests have one) passes them over.

    `related` is a saved object or several: `EmailLog.objects.for_object(invoice)` finds the mails about it.

    Raises `InvalidMessage`, and what the backend raises.
    """
    email = EmailMultiAlternatives(subject, message, from_email, list(recipient_list))
    if html_message:
        email.attach_alternative(html_message, "text/html")
    options = {
        "on_sent": on_sent,
        "on_error": on_error,
        "on_deferred": on_deferred,
        "on_bounced": on_bounced,
        "priority": priority,
        "tenant_id": tenant_id,
        "account_id": account_id,
        "server": server,
        "batch_code": batch_code,
        "send_at": send_at,
        "expires_at": expires_at,
        "metadata": metadata,
        "tags": tags,
        "message_id": message_id,
        "return_path": return_path,
        "related": related,
    }
    email.mail_proxy = {name: value for name, value in options.items() if value is not None}  # type: ignore[attr-defined]
    if not email.recipients():
        return 0
    if connection is None:
        connection = _backend(using, fail_silently, auth_user, auth_password)
    return connection.send_messages([email])


def _backend(using: str | None, fail_silently: bool, auth_user: str | None, auth_password: str | None) -> Any:
    if not hasattr(django_mail, "mailers") or auth_user is not None or auth_password is not None:
        options = {"username": auth_user, "password": auth_password}
        given = {name: value for name, value in options.items() if value is not None}
        return django_mail.get_connection(fail_silently=fail_silently, **given)
    # Django 6.1, which deprecates `get_connection` and its `fail_silently`.
    backend = django_mail.mailers["default" if using is None else using]
    if fail_silently:
        backend.fail_silently = True
    return backend
