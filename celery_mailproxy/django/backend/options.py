"""What can be said about a mail beside Django's own: on the message, in MAILERS' OPTIONS, and as CELERY_EMAIL_…

`CELERY_EMAIL_CHUNK_SIZE`, `CELERY_EMAIL_TASK_CONFIG` and `CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES` are the settings of
django-celery-email, read where a project has them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from celery import current_app
from celery.utils.time import rate
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from kombu import compression
from kombu.serialization import registry

from ...errors import ConfigurationError, InvalidMessage
from ...mail.message import normalise_arguments
from ...runtime import get_runtime

__all__ = [
    "BACKEND_OPTIONS",
    "MESSAGE_OPTIONS",
    "LegacySettings",
    "backend_defaults",
    "check_backend",
    "message_options",
]

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
        _check_task_config(config)
        return cls(
            chunk_size=_chunk_size(),
            publish_options={key: value for key, value in config.items() if key in _PUBLISH_KEYS},
            task_attributes={key: value for key, value in config.items() if key in _WORKER_KEYS},
            extra_attributes=_extra_attributes(),
        )


def _check_task_config(config: Mapping[str, Any]) -> None:
    """Raises `ConfigurationError` for what Celery would not understand: some of it would stop the worker."""
    for name, (is_right, rule) in _TASK_CONFIG_RULES.items():
        value = config.get(name)
        if value is not None and not is_right(value):
            raise ConfigurationError(f"CELERY_EMAIL_TASK_CONFIG[{name!r}] must be {rule}, got {value!r}.")


def _is_rate(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(rate(value)) >= 0
    except (KeyError, TypeError, ValueError):
        return False


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_serializer(value: Any) -> bool:
    return isinstance(value, str) and value in registry.name_to_type


def _is_compression(value: Any) -> bool:
    try:
        compression.get_encoder(value)
    except (KeyError, TypeError):
        return False
    return True


#: What Celery and kombu take for those keys that they do not take just anything for.
_TASK_CONFIG_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "compression": (_is_compression, "a compression that kombu knows, such as 'gzip'"),
    "max_retries": (_is_count, "a whole number, 0 or more, or None"),
    "rate_limit": (_is_rate, "a rate such as '50/m', or a number of tasks a second"),
    "serializer": (_is_serializer, "a serializer that kombu knows, such as 'json'"),
    "soft_time_limit": (_is_time, "a number of seconds, more than 0"),
    "time_limit": (_is_time, "a number of seconds, more than 0"),
}


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
