"""URLs of stores, as they may be shown."""

from __future__ import annotations

import re

__all__ = ["hide_password"]

_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&#]*", re.IGNORECASE)


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
