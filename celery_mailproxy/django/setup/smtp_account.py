"""The SMTP server of a project, for the proxy's account: from options, else from Django's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigurationError
from ..backend.mailers import smtp_options

__all__ = ["IMPLICIT_TLS_PORT", "smtp_account"]

#: The proxy begins with TLS on this port only; on every other one it means STARTTLS.
IMPLICIT_TLS_PORT = 465


def smtp_account(given: Mapping[str, Any], *, mailer: str | None = None) -> dict[str, Any]:
    """`host`, `port`, `user`, `password`, `use_tls`: those that are given, and what the project itself has set.

    Another host does not get the project's password. Raises `ConfigurationError` for what the
    proxy cannot do.
    """
    own = _from_settings(smtp_options(mailer))
    chosen = {name: value for name, value in given.items() if value is not None}
    if "host" in chosen and chosen["host"] != own.get("host"):
        own = {}
    return own | chosen


def _from_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    account = {
        "host": options.get("host"),
        "port": options.get("port"),
        "user": options.get("username"),
        "password": options.get("password"),
    }
    if options.get("use_ssl"):
        if account["port"] not in (None, IMPLICIT_TLS_PORT):
            raise ConfigurationError(
                f"the port must be {IMPLICIT_TLS_PORT} for TLS from the start (EMAIL_USE_SSL), got "
                f"{account['port']!r}: on every other one the proxy uses STARTTLS."
            )
        account |= {"port": IMPLICIT_TLS_PORT, "use_tls": True}
    elif (use_tls := options.get("use_tls")) is not None:
        account["use_tls"] = bool(use_tls)
    return {name: value for name, value in account.items() if value not in (None, "")}
