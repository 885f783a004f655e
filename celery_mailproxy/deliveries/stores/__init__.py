"""Where deliveries are kept: a URL chooses the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib import import_module

from ...errors import ConfigurationError
from ..report import utcnow
from .base import DeliveryStore, Retention
from .urls import hide_password

__all__ = ["DeliveryStore", "Retention", "hide_password", "open_store"]

# scheme → module and class. Imported when asked for: a store may need what is not installed.
_STORES = {
    "django": ("celery_mailproxy.django.log.store", "DjangoStore"),
    "memory": (".memory", "MemoryStore"),
    "redis": (".redis.store", "RedisStore"),
    "redis+cluster": (".redis.store", "RedisStore"),
    "rediss": (".redis.store", "RedisStore"),
    "rediss+cluster": (".redis.store", "RedisStore"),
    "rediss+sentinel": (".redis.store", "RedisStore"),
    "sentinel": (".redis.store", "RedisStore"),
    "sqlite": (".sqlite.store", "SQLiteStore"),
    "unix": (".redis.store", "RedisStore"),
}


def open_store(url: str, *, retention: Retention, clock: Callable[[], datetime] = utcnow) -> DeliveryStore:
    """The store that the URL names; nothing is connected yet.

    `sqlite:///relative.db`, `sqlite:////absolute/path.db` (with `?synchronous=normal`, `?timeout_seconds=10`),
    `redis://…` and its kin (see `redis.url`), `django://` (Django's ORM), `memory://` or `memory://name` (one set of
    deliveries for each name in this process). Raises `ConfigurationError` for any other.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _STORES:
        raise ConfigurationError(
            f"store must be redis://, sqlite://, django:// or memory://, got {hide_password(url)!r}; "
            f"known schemes are {', '.join(sorted(_STORES))}"
        )
    module_name, class_name = _STORES[scheme]
    try:
        module = import_module(module_name, __package__)
    except ModuleNotFoundError as exc:
        extra = "django" if scheme == "django" else "redis"
        raise ConfigurationError(
            f'a {scheme}:// store needs {exc.name}, which is not installed: pip install "celery-mailproxy[{extra}]"'
        ) from exc
    store: DeliveryStore = getattr(module, class_name).from_url(url, retention, clock=clock)
    return store
