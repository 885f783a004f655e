"""`LegacyTransport`: sends a mail's source through the e-mail backend that the project had before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from email import message_from_string, policy
from email.message import EmailMessage as ParsedMessage
from email.message import Message
from functools import partial
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMultiAlternatives
from django.utils.module_loading import import_string

from ...errors import ConfigurationError, UnsupportedMessage
from ...mail.message import MailMessage
from ...mail.parts import parse_tree
from ..backend.mailers import Mailer, configured_mailers, has_mailers

__all__ = ["LegacyTransport", "SourceMessage"]

#: Backends that would hand the mail to Celery again: ours in a loop, and django-celery-email's without sending it.
_QUEUEING = ("celery_mailproxy.", "djcelery_email.")


class NotSent(Exception):
    """A backend that fails silently has not sent a mail."""


class LegacyTransport:
    """The backend, with a connection that is kept for several mails and renewed after an error. Close it.

    `backend` is its path, or an alias of MAILERS. Raises `ConfigurationError` where it does not send by itself, or
    cannot be made as it is configured.
    """

    def __init__(self, backend: str) -> None:
        self._make = _load(backend)
        # Now: wrong options are not the mail's fault, and must not end it.
        _try_out(self._make, backend)
        self._backend: Any = None

    def send(self, message: MailMessage | None) -> None:
        """Send the mail, to the recipients that it names. Raises whatever the backend raises, and `NotSent`."""
        if message is None:
            raise ConfigurationError("a mail for the legacy transport must be known")
        backend = self._opened()
        try:
            # None is what backends return that do not count.
            if backend.send_messages([SourceMessage(message)]) == 0:
                raise NotSent("the backend has sent nothing, and does not say why")
        except Exception:
            # The state of the connection is unknown.
            self.close()
            raise

    def close(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            with suppress(Exception):
                backend.close()

    def _opened(self) -> Any:
        if self._backend is None:
            backend = self._make()
            backend.open()
            self._backend = backend
        return self._backend


def _load(name: str) -> Callable[[], Any]:
    """What makes the backend: a mailer of MAILERS by its alias or, if there is but one of it, by its path."""
    problem = _problem(name)
    mailer = Mailer(alias="", backend=name)
    if has_mailers():
        named = {each.alias: each for each in configured_mailers() if name in (each.alias, each.backend)}
        if name not in named and len(named) != 1:
            raise ConfigurationError(f"{problem}: name the alias of one of MAILERS.")
        mailer = named.get(name) or next(iter(named.values()))
    if any(mailer.is_a(prefix) for prefix in _QUEUEING):
        raise ConfigurationError(f"{problem}: it would hand each email to Celery again.")
    try:
        backend = import_string(mailer.backend)
    except ImportError as exc:
        raise ConfigurationError(f"{problem}: {exc}") from exc
    options: dict[str, Any] = {"alias": mailer.alias, **mailer.options} if mailer.alias else {}
    # A mail that silently failed would be reported as sent.
    options.pop("fail_silently", None)
    if not options and django.VERSION >= (6, 1) and backend.__module__.startswith("django."):
        # Without an alias Django's own backends would warn that MAILERS is not used.
        options["alias"] = None
    return partial(backend, **options)


def _problem(name: str) -> str:
    return f"MAIL_PROXY_MIGRATION['legacy'] must name an e-mail backend that sends by itself, got {name!r}"


def _try_out(make: Callable[[], Any], name: str) -> None:
    try:
        make()
    except (ImproperlyConfigured, TypeError) as exc:
        # These name options; what others say might quote a password.
        raise ConfigurationError(f"{_problem(name)}: {exc}") from exc
    except Exception as exc:
        raise ConfigurationError(f"{_problem(name)}: it raises {type(exc).__name__} when it is made") from exc


class SourceMessage(EmailMultiAlternatives):
    """A mail whose source is finished: `message()` gives it as it is. Some backends use the attributes instead."""

    def __init__(self, message: MailMessage) -> None:
        if message.raw is None:
            raise ConfigurationError("an email for the legacy transport must have its source (raw)")
        self._source = message.raw
        self._recipients = list(message.recipients)
        parsed = message_from_string(self._source, policy=policy.default)
        super().__init__(
            subject=message.subject,
            body=_text(parsed, "plain"),
            from_email=message.return_path or message.from_email,
            to=list(message.envelope or message.to),
            cc=[] if message.envelope else list(message.cc),
            bcc=list(message.bcc),
            headers=_seen(message) if message.envelope else None,
        )
        if html := _text(parsed, "html"):
            self.attach_alternative(html, "text/html")
        for part in parsed.iter_attachments() if isinstance(parsed, ParsedMessage) else ():
            if isinstance(content := part.get_payload(decode=True), bytes):
                self.attach(part.get_filename(), content, part.get_content_type())

    def message(self, **kwargs: Any) -> Any:
        # Newer releases of Django ask for a policy; what is finished needs none.
        return _Source(self._source)

    def recipients(self) -> list[str]:
        return self._recipients


def _seen(message: MailMessage) -> dict[str, str]:
    return {name: ", ".join(seen) for name, seen in (("To", message.to), ("Cc", message.cc)) if seen}


class _Source:
    """What backends ask of Django's own messages: the bytes of this mail."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._headers: Message = message_from_string(source)

    def as_bytes(self, unixfrom: bool = False, linesep: str = "\r\n", **kwargs: Any) -> bytes:
        """In 7 bits: SMTP servers need take no others, least of all in headers."""
        source = self._source.encode()
        if not self._source.isascii():
            # What is signed stays as it is: it goes out with 8 bits then.
            with suppress(UnsupportedMessage):
                tree = parse_tree(source)
                source = tree.as_bytes(policy=tree.policy.clone(linesep="\n"))
        return source.replace(b"\n", linesep.encode())

    def as_string(self, *args: Any, **kwargs: Any) -> str:
        return self._source

    def get_charset(self) -> None:
        return None

    def __getitem__(self, name: str) -> Any:
        return self._headers[name]


def _text(parsed: Message, subtype: str) -> str:
    body = parsed.get_body((subtype,)) if isinstance(parsed, ParsedMessage) else None
    try:
        return "" if body is None else str(body.get_content())
    except (LookupError, ValueError):
        return ""
