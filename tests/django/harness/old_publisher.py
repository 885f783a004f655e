"""Run by the old side's Python: publishes real tasks of django-celery-email, as a project with that package does.

Reads `{"broker_url", "queue", "serializer"}` from its first argument, and prints `{recipient: the mail as the package's
worker would have built it, in base64}`.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any
from uuid import uuid4

import django
from django.conf import settings

WANTED = json.loads(sys.argv[1])

SMTP = "django.core.mail.backends.smtp.EmailBackend"
OURS = "djcelery_email.backends.CeleryEmailBackend"
mailers = {"default": {"BACKEND": OURS, "OPTIONS": {"using": "smtp"}}, "smtp": {"BACKEND": SMTP}}
settings.configure(
    INSTALLED_APPS=["djcelery_email"],
    SECRET_KEY="tests",
    CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES=["tags"],
    **({"MAILERS": mailers} if django.VERSION >= (6, 1) else {"EMAIL_BACKEND": OURS}),
)
django.setup()

from celery import Celery  # noqa: E402
from django.core import mail  # noqa: E402
from django.core.mail import EmailMessage, EmailMultiAlternatives  # noqa: E402

app = Celery("old", set_as_current=True)
app.conf.update(
    broker_url=WANTED["broker_url"],
    task_default_queue=WANTED["queue"],
    task_serializer=WANTED["serializer"],
    accept_content=["json", "pickle"],
)

from djcelery_email.tasks import send_emails  # noqa: E402
from djcelery_email.utils import dict_to_email, email_to_dict  # noqa: E402

LOGIN: dict[str, Any] = {"username": "smtp-user", "password": "s3cret", "fail_silently": False}
PNG = b"\x89PNG\r\n\x1a\n\xff"


def message(recipient: str, **arguments: Any) -> EmailMultiAlternatives:
    given: dict[str, Any] = {"subject": f"Grüße to {recipient}", "body": "Body", "from_email": "Zoë <from@example.com>"}
    return EmailMultiAlternatives(**{**given, "to": [f"{recipient}@example.com"], **arguments})


def rich(recipient: str) -> EmailMultiAlternatives:
    mail = message(recipient, headers={"X-Shop": "7"}, reply_to=["reply@example.com"], cc=["cc@example.com"])
    mail.attach_alternative("<p>Grüße</p>", "text/html")
    mail.attach("invoice.pdf", b"%PDF \xff", "application/pdf")
    # Django 6 ends the last line of an attached text where it builds the mail, and earlier ones do not.
    mail.attach("notes März.txt", "Grüße\n", "text/plain")
    mail.tags = ["news"]  # type: ignore[attr-defined]
    return mail


def plain(recipient: str) -> EmailMessage:
    mail = EmailMessage("Plain", "<p>HTML alone</p>", "from@example.com", [f"{recipient}@example.com"])
    mail.content_subtype = "html"
    return mail


def with_part(recipient: str) -> EmailMultiAlternatives:
    """With a whole MIME part, of which only -reboot keeps the headers."""
    mail = message(recipient)
    part: Any
    if django.VERSION >= (6, 0):
        from email.message import MIMEPart

        part = MIMEPart()
        part.set_content(PNG, "image", "png", cid="<logo>", disposition="inline", filename="logo.png")
    else:
        from email.mime.image import MIMEImage

        part = MIMEImage(PNG, "png")
        part.add_header("Content-Disposition", "inline", filename="logo.png")
        part["Content-ID"] = "<logo>"
    mail.attach(part)
    return mail


def main() -> None:
    published: list[EmailMessage] = []

    def noted(*mails: EmailMessage) -> list[EmailMessage]:
        published.extend(mails)
        return list(mails)

    if WANTED["serializer"] == "pickle":
        # What projects do that call the task themselves.
        send_emails.delay(noted(rich("pickled"), plain("pickled-plain")), LOGIN)
        send_emails.delay(noted(message("pickled-alone"))[0])
    else:
        backend = mail.mailers.default if hasattr(mail, "mailers") else mail.get_connection(**LOGIN)
        backend.send_messages(noted(rich("rich"), plain("plain"), with_part("part")))
        backend.send_messages(noted(*(message(f"chunk-{number}") for number in range(12))))
        send_emails.delay(email_to_dict(*noted(message("bare"))), host="smtp.example.com")
        # As the worker queues again what it could not send: one by one, with one task id.
        options = {"task_id": str(uuid4()), "retries": 1, "countdown": 1}
        for one in noted(message("retried-1"), message("retried-2")):
            send_emails.apply_async(([email_to_dict(one)], LOGIN), **options)
        send_emails.delay([email_to_dict(*noted(message("neighbour"))), {"subject": "to nobody"}], LOGIN)
    built = {one.to[0]: dict_to_email(json.loads(json.dumps(email_to_dict(one)))).message() for one in published}
    print(json.dumps({to: base64.b64encode(each.as_bytes()).decode() for to, each in built.items()}))


main()
