"""The path in the URL of a mailbox that is a file or a folder."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import ConfigurationError

__all__ = ["path_of"]


def path_of(url: str) -> Path:
    """The absolute path of `maildir:///var/mail/bounces`. Raises `ConfigurationError`."""
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or parts.query or parts.fragment:
        raise ConfigurationError(
            f"mail_proxy_bounce_mailbox must have three slashes and an absolute path, like "
            f"'{parts.scheme}:///var/mail/bounces'."
        )
    return path
