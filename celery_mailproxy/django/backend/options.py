"""What can be said about a mail beside Django's own: on the message, and in MAILERS' OPTIONS."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ...errors import ConfigurationError, InvalidMessage
from ...mail.arguments import normalise_arguments
from ...runtime import get_runtime
from .anymail_attributes import anymail_options
from .celery_email import CeleryEmailSettings

__all__ = [
    "BACKEND_OPTIONS",
    "MESSAGE_OPTIONS",
    "backend_defaults",
    "check_backend",
    "check_known",
    "message_options",
]

#: What `EmailMessage.mail_proxy` may hold: arguments of `send_via_proxy`, and `related`.
MESSAGE_OPTIONS = frozenset(
    {
        "account_id",
        "batch_code",
        "expires_at",
        "message_id",
        "metadata",
        "on_bounced",
        "on_deferred",
        "on_error",
        "on_sent",
        "priority",
        "related",
        "return_path",
        "send_at",
        "server",
        "tags",
        "tenant_id",
    }
)

#: Those of them that make sense for every mail of a backend.
BACKEND_OPTIONS = frozenset({"account_id", "batch_code", "priority", "return_path", "server", "tags", "tenant_id"})


#: Those of Django's SMTP backend that name a server, and how to talk to it.
_SMTP_OPTIONS = frozenset({"host", "port", "ssl_certfile", "ssl_keyfile", "timeout", "use_ssl", "use_tls"})


def backend_defaults(options: Mapping[str, Any], *, alias: str | None) -> dict[str, Any]:
    """A backend's options as defaults for its mails. Raises `InvalidMailer` (before Django 6.1 its base class)."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return normalise_arguments(given)
    except InvalidMessage as exc:
        raise _invalid_mailer(str(exc), alias) from exc


def check_known(options: Mapping[str, Any], *, alias: str | None) -> None:
    """Refuse arguments of a backend that it does not have: nobody would follow them. The errors of `backend_defaults`.

    What is None is not given.
    """
    given = sorted(name for name, value in options.items() if value is not None)
    if smtp := [name for name in given if name in _SMTP_OPTIONS]:
        raise _invalid_mailer(
            f"{', '.join(smtp)}: an account at the proxy says which SMTP server its emails leave by. Add one with it "
            "there (manage.py mailproxy_setup --smtp-host …), and pass its account_id; or send these emails through "
            "'django.core.mail.backends.smtp.EmailBackend'",
            alias,
        )
    if given:
        known = sorted({*BACKEND_OPTIONS, "database", "fail_silently", "on_commit"})
        near = difflib.get_close_matches(given[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise _invalid_mailer(f"{given[0]}: is not an option of this backend; {hint}", alias)


def check_backend(*, on_commit: Any, database: Any, server: Any, alias: str | None) -> None:
    """Refuse options of a backend with which each of its mails would fail; the errors of `backend_defaults`."""
    if on_commit is not None and not isinstance(on_commit, bool):
        raise _invalid_mailer(f"on_commit: must be True or False, got {on_commit!r}", alias)
    if database not in (known := list(connections)):
        problem = f"database: must be one of DATABASES ({', '.join(known)}), got {database!r}"
        raise _invalid_mailer(problem, alias)
    if server is None:
        return
    # Settings that are wrong themselves are named when a mail is sent, and by another check.
    with suppress(ConfigurationError):
        names = get_runtime(current_app).settings.server_names()
        if server not in names:
            raise _invalid_mailer(f"server: must be one of {', '.join(names)}, got {server!r}", alias)


def message_options(message: Any, *, legacy: CeleryEmailSettings) -> dict[str, Any]:
    """What stands in the message's `mail_proxy`; what is None is left out. Raises `InvalidMessage`.

    An attribute that CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES names counts too, if its name is one of these options'; and
    so do those that django-anymail reads: see `anymail_options`.
    """
    own = getattr(message, "mail_proxy", None)
    if own is None:
        own = {}
    if not isinstance(own, Mapping):
        raise InvalidMessage("mail_proxy", f"must be a dict of options, got {type(own).__name__}")
    for name in own:
        if name not in MESSAGE_OPTIONS:
            raise InvalidMessage(f"mail_proxy[{name!r}]", f"is not an option of an email; {_hint(name)}")
    anymail = anymail_options(message)
    names = [name for name in legacy.extra_attributes if name in MESSAGE_OPTIONS - anymail.keys()]
    extra = {name: getattr(message, name, None) for name in names}
    return {name: value for name, value in {**extra, **anymail, **own}.items() if value is not None}


def _hint(name: object) -> str:
    near = difflib.get_close_matches(str(name), MESSAGE_OPTIONS, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(MESSAGE_OPTIONS))}"


def _invalid_mailer(problem: str, alias: str | None) -> ImproperlyConfigured:
    try:
        from django.core.mail import InvalidMailer
    except ImportError:  # Django before 6.1
        return ImproperlyConfigured(problem)
    error: ImproperlyConfigured = InvalidMailer(problem, alias=alias)
    return error
