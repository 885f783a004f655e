"""Django's messages of every kind, and what becomes of them on the wire."""

from __future__ import annotations

import email.policy
from collections.abc import Callable
from email.message import EmailMessage as SourceMessage
from email.message import MIMEPart
from email.mime.image import MIMEImage
from typing import Any

import django
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.utils.translation import gettext_lazy

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.django.backend.celery_email import CeleryEmailSettings
from celery_mailproxy.django.backend.conversion import ConvertedMail, convert
from tests.harness import read_mail

__all__ = [
    "FIXED",
    "MESSAGES",
    "PNG",
    "SETTINGS",
    "converted",
    "encoded",
    "forwarded",
    "html_only",
    "message",
    "numbered_message",
    "on_the_wire",
    "only_alternative",
    "seen",
    "with_alternative",
    "with_files",
    "with_inline_image",
    "with_message",
    "with_two_alternatives",
]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SETTINGS = Settings(store="memory://")
FIXED = {"Date": "Sun, 22 Nov 2026 10:00:00 +0100", "Message-ID": "<fixed@example.com>"}


def message(**arguments: Any) -> EmailMultiAlternatives:
    given = {"subject": "Subject", "body": "Body\n", "from_email": "from@example.com", "to": ["to@example.com"]}
    headers = {**FIXED, **arguments.pop("headers", {})}
    return EmailMultiAlternatives(**{**given, **arguments}, headers=headers)


def with_alternative() -> EmailMessage:
    made = message(body="Für alle\n")
    made.attach_alternative("<p>Für <b>alle</b></p>", "text/html")
    return made


def with_two_alternatives() -> EmailMessage:
    made = with_alternative()
    made.attach_alternative("BEGIN:VCALENDAR\nEND:VCALENDAR\n", "text/calendar")  # type: ignore[attr-defined]
    return made


def only_alternative() -> EmailMessage:
    made = message(body="")
    made.attach_alternative("<p>Hi</p>", "text/html")
    return made


def with_files() -> EmailMessage:
    made = message(attachments=[("rép rt.pdf", PNG, "application/pdf"), ("notes.txt", "Größe\n", "text/plain")])
    made.attach("x" * 100 + ".bin", b"\x00\xff" * 600)
    made.attach("table.csv", b"a,b\n1,\xe9\n", "text/csv")
    return made


def with_inline_image() -> EmailMessage:
    made = with_alternative()
    if django.VERSION < (6,):
        part: Any = MIMEImage(PNG, "png")
    else:
        part = MIMEPart()
        part.set_content(PNG, maintype="image", subtype="png")
    part["Content-ID"] = "<logo>"
    part.add_header("Content-Disposition", "inline", filename="lögo.png")
    part["X-Own"] = "header of the part"
    made.attach(part)
    return made


def with_message(content: Any) -> EmailMessage:
    made = message()
    made.attach("forwarded.eml", content, "message/rfc822")
    return made


def forwarded() -> SourceMessage:
    inner = SourceMessage()
    inner["From"], inner["To"], inner["Subject"] = "a@example.com", "b@example.com", "Grüße"
    inner.set_content("Größe\n" * 3)
    return inner


def encoded(charset: str) -> EmailMessage:
    made = message(subject="Grüße", body="Größe\n")
    made.encoding = charset
    return made


def html_only() -> EmailMessage:
    made = message(body="<p>Größe</p>")
    made.content_subtype = "html"
    return made


MESSAGES: dict[str, Callable[[], EmailMessage]] = {
    "plain": message,
    "no body": lambda: message(body=""),
    "no subject": lambda: message(subject=""),
    "unicode": lambda: message(subject="Chère maman", body="Je t'aime très fort"),
    "long lines": lambda: message(body="В южных морях " * 100 + "\n" + "x" * 3000),
    "from lines": lambda: message(body="From here\n.\nFrom there\n"),
    "lazy": lambda: message(subject=gettext_lazy("Subject"), to=[gettext_lazy("to@example.com")]),
    "html only": html_only,
    "alternative": with_alternative,
    "two alternatives": with_two_alternatives,
    "only an alternative": only_alternative,
    "files": with_files,
    "files only": lambda: message(body="", attachments=[("a.pdf", b"%PDF", "application/pdf")]),
    "inline image": with_inline_image,
    "django message": lambda: with_message(with_files()),
    "python message": lambda: with_message(forwarded()),
    "text message": lambda: with_message("Subject: Inner\nFrom: a@example.com\n\nText\n"),
    "latin": lambda: encoded("iso-8859-1"),
    "many recipients": lambda: message(
        to=["Ann <ann@example.com>", '"Doe, Jané" <j@example.com>'],
        cc=["Zoë Müller <zoe@example.com>"],
        bcc=["bcc@example.com", "ann@example.com"],
        reply_to=["Büro <office@example.com>", "other@example.com"],
    ),
    "idn": lambda: message(from_email="Ä <from@öäü.com>", to=["to@öäü.com"], cc=["cc@öäü.com"]),
    "visible sender": lambda: message(headers={"From": "Shop <shop@example.com>"}),
    "headers": lambda: message(
        headers={
            "X-Long": "words " * 60,
            "X-Ünicode".replace("Ü", "U"): "Größe",
            "List-Unsubscribe": "<https://e.com/x>",
        }
    ),
    "nobody to be seen": lambda: message(to=[], bcc=["bcc@example.com"]),
}


def converted(mail: EmailMessage, settings: Settings = SETTINGS, **defaults: Any) -> ConvertedMail:
    return convert(mail, defaults=defaults, legacy=CeleryEmailSettings(), settings=settings)


def on_the_wire(mail: EmailMessage) -> SourceMessage:
    """As Django's SMTP backend would write it."""
    if django.VERSION < (6,):
        return read_mail.parse(mail.message().as_bytes(linesep="\r\n"))  # type: ignore[call-arg]
    return read_mail.parse(mail.message(policy=email.policy.SMTP).as_bytes())


def seen(mail: SourceMessage) -> dict[str, Any]:
    """What a reader sees of it, but for an empty To."""
    headers: dict[str, Any] = {
        name.lower(): read_mail.header(mail, name)
        for name in mail
        if not name.lower().startswith("content-") and name.lower() not in ("x-genro-mail-id", "mime-version")
    }
    headers |= {name: read_mail.addresses(mail, name) for name in ("from", "to", "cc", "reply-to")}
    return {**headers, "tree": read_mail.tree(mail)}


def numbered_message(number: int = 1, **arguments: Any) -> EmailMessage:
    given = {"subject": f"Subject {number}", "body": "Body", "from_email": "from@example.com"}
    return EmailMessage(**{**given, "to": [f"to{number}@example.com"], **arguments})
