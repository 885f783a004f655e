"""Our secrets in what others show of a configuration: `celery report`, `celery inspect conf`, Django's debug page.

Celery hides values by their key alone: not a tenant's token, for its key is the tenant, and not a password in the URL
of the store or the bounce mailbox. Django does likewise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import wraps
from typing import Any

from celery.app import utils

__all__ = ["HiddenText", "hide_secrets", "is_url_key"]

#: What Celery itself shows in place of a secret.
_MASK = "*" * 8

#: A setting of ours in any namespace and case: mail_proxy_token, CELERY_MAIL_PROXY_TOKEN, MAIL_PROXY_TOKEN.
_KEY = re.compile(r"(?:^|_)mail_proxy_(\w+)$", re.IGNORECASE)
_SECRET_KEY = re.compile("token|secret|password", re.IGNORECASE)


class HiddenText(str):
    """A text whose `repr` shows no password: it is what it was to everybody who uses it, and hidden where it is shown.

    JSON and `str()` show it whole.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_shown_text(str(self)))


def hide_secrets() -> None:
    """Keep our secrets out of what Celery shows in this process. Once is enough, and more does no harm.

    `celery report` and `celery inspect conf` both ask `celery.app.utils.filter_hidden_settings`, which has no place
    for others' settings; so it is wrapped.
    """
    original = utils.filter_hidden_settings
    if getattr(original, "hides_mail_proxy", False):
        return

    @wraps(original)
    def filter_hidden_settings(conf: Mapping[str, Any]) -> Any:
        return original({key: _shown_setting(key, value) for key, value in conf.items()})

    filter_hidden_settings.hides_mail_proxy = True  # type: ignore[attr-defined]
    utils.filter_hidden_settings = filter_hidden_settings


def is_url_key(key: str) -> bool:
    """Whether the setting is a URL with a password in it, of our store or the bounce mailbox, in any namespace."""
    match = _KEY.search(key)
    return match is not None and match[1].lower() in ("store", "bounce_mailbox")


def _shown_setting(key: Any, value: Any) -> Any:
    match = _KEY.search(key) if isinstance(key, str) else None
    return value if match is None else _shown(match[1], value)


def _shown(key: Any, value: Any) -> Any:
    if isinstance(key, str) and _SECRET_KEY.search(key):
        return _MASK
    if isinstance(value, Mapping):
        return {name: _shown(name, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(None, each) for each in value]
    return _shown_text(value) if isinstance(value, str) else value


def _shown_text(text: str) -> str:
    scheme, separator, place = text.partition("://")
    # Whole, from the scheme on: where a password ends that was not percent-encoded, nobody knows.
    return f"{scheme}://{_MASK}" if separator and ("@" in place or "?" in place) else text
