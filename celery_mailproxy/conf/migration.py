"""`mail_proxy_migration`: how mail is divided between the proxy and the legacy transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import ConfigurationError
from . import readers as types

__all__ = ["MigrationSettings", "read_migration"]

#: What sends a Django project's mails where the setting names nothing else.
SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"


def share(key: str, value: Any) -> float:
    """A number from 0 to 1."""
    number = types.natural_number(key, value)
    if number > 1:
        raise ConfigurationError(f"{key} must be from 0 to 1, the share of mail sent through the proxy, got {value!r}.")
    return number


def _setting(default: Any, read: Callable[[str, Any], Any]) -> Any:
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationSettings:
    """The keys of `mail_proxy_migration`; `docs/reference/settings.md` says what each means."""

    share: float = _setting(0.0, share)
    sticky: Literal["recipient", "message", "tenant"] = _setting(
        "recipient", types.one_of("recipient", "message", "tenant")
    )
    route: Callable[..., Any] | None = _setting(None, types.callable_or_path)
    legacy: str = _setting(SMTP_BACKEND, types.text)
    fallback: Literal["unreachable", "never"] = _setting("never", types.one_of("unreachable", "never"))
    breaker_failures: int = _setting(5, types.positive_integer())
    breaker_seconds: float = _setting(30.0, types.positive_number)
    shadow: bool = _setting(False, types.boolean)
    shadow_tenant: str | None = _setting(None, types.text)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    item.name: item.metadata["read"] for item in fields(MigrationSettings)
}


def read_migration(key: str, value: Any) -> MigrationSettings:
    """The setting's value. Raises `ConfigurationError` that names the key."""
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{key} must be a dict such as {{'share': 0.25}}, got {type(value).__name__}.")
    for name in value:
        if name not in _READERS:
            close = get_close_matches(str(name), list(_READERS), n=1, cutoff=0.6)
            hint = f" Did you mean {close[0]}?" if close else f" Known are {', '.join(_READERS)}."
            raise ConfigurationError(f"unknown key {name!r} in {key}.{hint}")
    given = {
        name: read(f"{key}[{name!r}]", value[name]) for name, read in _READERS.items() if value.get(name) is not None
    }
    if "shadow_tenant" in given and not given.get("shadow"):
        raise ConfigurationError(
            f"{key}['shadow_tenant'] has no meaning without 'shadow': True. Set that, or remove it."
        )
    return MigrationSettings(**given)
