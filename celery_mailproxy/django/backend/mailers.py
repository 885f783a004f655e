"""The mailers of a Django project: MAILERS where Django has it (6.1), else what EMAIL_BACKEND and EMAIL_HOST … say."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import django
from django.conf import settings
from django.utils.module_loading import import_string

from ...errors import ConfigurationError

__all__ = ["Mailer", "configured_mailers", "has_mailers", "smtp_options"]

SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"

#: The backend's own words for the settings of Django before 6.1.
_SETTINGS: Mapping[str, str] = {
    "host": "EMAIL_HOST",
    "port": "EMAIL_PORT",
    "username": "EMAIL_HOST_USER",
    # The name of a setting.
    "password": "EMAIL_HOST_PASSWORD",  # nosec B105
    "use_tls": "EMAIL_USE_TLS",
    "use_ssl": "EMAIL_USE_SSL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailer:
    """One way by which Django sends mail. `options` are those of its backend, a password among them."""

    alias: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def is_a(self, prefix: str) -> bool:
        """Whether its backend, or a class that it is made of, is of the module or package that the prefix begins."""
        if self.backend.startswith(prefix):
            return True
        try:
            backend = import_string(self.backend)
        except Exception:
            # Django tells of it when a mail is sent; a module may fail in any way.
            return False
        bases = backend.__mro__ if isinstance(backend, type) else ()
        return any(f"{base.__module__}.{base.__qualname__}".startswith(prefix) for base in bases)


def configured_mailers() -> list[Mailer]:
    """Every mailer of the project. Without MAILERS there is one, `default`."""
    if (mailers := _mailers_setting()) is None:
        options = {option: value for option, name in _SETTINGS.items() if (value := _email_setting(name)) is not None}
        return [Mailer(alias="default", backend=_email_setting("EMAIL_BACKEND") or SMTP_BACKEND, options=options)]
    return [
        Mailer(
            alias=str(alias),
            backend=str(mailer.get("BACKEND", SMTP_BACKEND)),
            options=dict(mailer.get("OPTIONS") or {}),
        )
        for alias, mailer in mailers.items()
        if isinstance(mailer, Mapping)
    ]


def has_mailers() -> bool:
    """Whether the project has MAILERS, in place of EMAIL_BACKEND and its settings."""
    return _mailers_setting() is not None


def smtp_options(alias: str | None = None) -> Mapping[str, Any]:
    """How the project reaches its SMTP server by itself: `host`, `port`, `username`, …; only what it has set.

    With MAILERS it is the mailer of that alias, or the only one that speaks SMTP; none where there is none. Raises
    `ConfigurationError` where it is not plain which is meant.
    """
    mailers = configured_mailers()
    if _mailers_setting() is None:
        # EMAIL_HOST … are of SMTP whichever backend is chosen: ours, by now.
        if alias not in (None, "default"):
            raise ConfigurationError(f"the mailer must be 'default' where MAILERS is not set, got {alias!r}.")
        return mailers[0].options
    speaking = {mailer.alias: mailer for mailer in mailers if mailer.is_a(SMTP_BACKEND)}
    if alias is not None:
        if alias not in speaking:
            raise ConfigurationError(f"the mailer must be one of MAILERS with the SMTP backend, got {alias!r}.")
        return speaking[alias].options
    if len(speaking) > 1:
        raise ConfigurationError(f"several of MAILERS speak SMTP ({', '.join(sorted(speaking))}): name one.")
    return next((mailer.options for mailer in speaking.values()), {})


def _mailers_setting() -> Mapping[str, Any] | None:
    mailers = getattr(settings, "MAILERS", None) if django.VERSION >= (6, 1) else None
    return mailers if isinstance(mailers, Mapping) else None


def _email_setting(name: str) -> Any:
    """A setting as the project makes it, else None."""
    if not settings.is_overridden(name):  # type: ignore[misc]
        return None
    with warnings.catch_warnings():
        # Django 6.1 has warned of it when it read the project's settings; once is enough.
        warnings.simplefilter("ignore")
        return getattr(settings, name, None)
