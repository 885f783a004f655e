"""URLs of stores, and texts that may quote them, as they may be shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["hide_password", "hide_secrets_of"]

_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)([^&#]*)", re.IGNORECASE)


def hide_password(url: str) -> str:
    """The URL with every password in it replaced by `***`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if "@" not in url else "***"
    # Up to the last @ of all: a password that should have been percent-encoded may hold an @ or a slash itself.
    userinfo, at, place = rest.rpartition("@")
    if at:
        username, colon, _ = userinfo.partition(":")
        rest = f"{username}:***@{place}" if colon else f"***@{place}"
    return _SECRET_OPTION.sub(r"\1***", f"{scheme}://{rest}")


def hide_secrets_of(url: str, text: str) -> str:
    """The text, e.g. of a foreign error, with the passwords that are in the URL replaced by `***`."""
    userinfo, _, _ = url.partition("://")[2].rpartition("@")
    secrets = [userinfo.partition(":")[2], *(match[2] for match in _SECRET_OPTION.finditer(url))]
    for secret in filter(None, secrets):
        for form in (secret, unquote(secret)):
            text = text.replace(form, "***")
    return text
