"""`CeleryEmailSettings`: django-celery-email's own settings, read where a project has them.

They are `CELERY_EMAIL_CHUNK_SIZE`, `CELERY_EMAIL_TASK_CONFIG` and `CELERY_EMAIL_MESSAGE_EXTRA_ATTRIBUTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery.utils.time import rate
from django.conf import settings as django_settings
from kombu import compression
from kombu.serialization import registry

from ...errors import ConfigurationError

__all__ = ["CeleryEmailSettings"]

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
class CeleryEmailSettings:
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
    def load(cls) -> CeleryEmailSettings:
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
