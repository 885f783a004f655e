"""What can be said about a mail beside Django's own: on the message, in MAILERS' OPTIONS, and as CELERY_EMAIL_…

`CELERY_EMAIL_CHUNK_SIZE`, `CELERY_EMAIL_TASK_CONFIG` and `CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES` are the settings of
django-celery-email, read where a project has them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from ..errors import ConfigurationError, InvalidMessage
from ..messages import normalise_arguments

__all__ = ["BACKEND_OPTIONS", "MESSAGE_OPTIONS", "LegacySettings", "backend_defaults", "message_options"]

#: What `EmailMessage.mail_proxy` may hold: arguments of `send_via_proxy`, and `related`.
MESSAGE_OPTIONS = frozenset(
    {
        "account_id",
        "batch_code",
        "message_id",
        "on_bounced",
        "on_deferred",
        "on_error",
        "on_sent",
        "priority",
        "related",
        "return_path",
        "send_at",
        "server",
        "tenant_id",
    }
)

#: Those of them that make sense for every mail of a backend.
BACKEND_OPTIONS = frozenset({"account_id", "batch_code", "priority", "return_path", "server", "tenant_id"})

#: Keys of CELERY_EMAIL_TASK_CONFIG that are said anew with each task that is published.
_PUBLISH_KEYS = frozenset(
    {
        "compression",
        "delivery_mode",
        "exchange",
        "expires",
        "ignore_result",
        "priority",
        "queue",
        "routing_key",
        "serializer",
    }
)

#: Those that a worker looks for on its tasks.
_WORKER_KEYS = frozenset(
    {"ignore_result", "max_retries", "rate_limit", "send_events", "soft_time_limit", "time_limit", "track_started"}
)

_DEFAULT_CHUNK_SIZE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacySettings:
    """django-celery-email's settings.

    `publish_options` are for `apply_async`, `task_attributes` for the tasks in a worker; both come from
    CELERY_EMAIL_TASK_CONFIG, whose other keys have no meaning here. Its `name` is that of the task in which
    django-celery-email's mails lie on the broker, and is never ours.
    """

    chunk_size: int = _DEFAULT_CHUNK_SIZE
    publish_options: Mapping[str, Any] = field(default_factory=dict)
    task_attributes: Mapping[str, Any] = field(default_factory=dict)
    extra_attributes: tuple[str, ...] = ()

    @classmethod
    def load(cls) -> LegacySettings:
        """As Django's settings have them now. Raises `ConfigurationError`."""
        config = getattr(django_settings, "CELERY_EMAIL_TASK_CONFIG", None) or {}
        if not isinstance(config, Mapping):
            raise ConfigurationError(
                f"CELERY_EMAIL_TASK_CONFIG must be a dict such as {{'queue': 'mails'}}, got {type(config).__name__}."
            )
        return cls(
            chunk_size=_chunk_size(),
            publish_options={key: value for key, value in config.items() if key in _PUBLISH_KEYS},
            task_attributes={key: value for key, value in config.items() if key in _WORKER_KEYS},
            extra_attributes=_extra_attributes(),
        )


def _chunk_size() -> int:
    size = getattr(django_settings, "CELERY_EMAIL_CHUNK_SIZE", None)
    if size is None:
        return _DEFAULT_CHUNK_SIZE
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ConfigurationError(f"CELERY_EMAIL_CHUNK_SIZE must be a whole number, 1 or more, got {size!r}.")
    return size


def _extra_attributes() -> tuple[str, ...]:
    names = getattr(django_settings, "CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES", None) or ()
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ConfigurationError(
            f"CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES must be a list of names, got {type(names).__name__}."
        )
    return tuple(str(name) for name in names)


def backend_defaults(options: Mapping[str, Any], *, alias: str | None) -> dict[str, Any]:
    """A backend's options as defaults for its mails. Raises `InvalidMailer` (before Django 6.1 its base class)."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return normalise_arguments(given)
    except InvalidMessage as exc:
        raise _invalid_mailer(str(exc), alias) from exc


def message_options(message: Any, *, legacy: LegacySettings) -> dict[str, Any]:
    """What stands in the message's `mail_proxy`; what is None is left out. Raises `InvalidMessage`.

    An attribute that CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES names counts too, if its name is one of these options'.
    """
    own = getattr(message, "mail_proxy", None)
    if own is None:
        own = {}
    if not isinstance(own, Mapping):
        raise InvalidMessage("mail_proxy", f"must be a dict of options, got {type(own).__name__}")
    for name in own:
        if name not in MESSAGE_OPTIONS:
            raise InvalidMessage(f"mail_proxy[{name!r}]", f"is not an option of a mail; {_hint(name)}")
    extra = {name: getattr(message, name, None) for name in legacy.extra_attributes if name in MESSAGE_OPTIONS}
    return {name: value for name, value in {**extra, **own}.items() if value is not None}


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
