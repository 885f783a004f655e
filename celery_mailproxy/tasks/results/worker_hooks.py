"""What a worker with these tasks does at its start, beside running them."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ...proxy.client import ProxyClient
from ...runtime import get_runtime

__all__ = ["check_settings"]


def check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes.

    So would a certificate file that is missing, or an environment that makes no HTTP client.

    A handler of Celery's signal `celeryd_init`.
    """
    try:
        settings = get_runtime(instance.app).settings
        for name in settings.server_names():
            # Without a URL a worker may still dispatch reports.
            if settings.has_url(name):
                ProxyClient(settings.server(name)).close()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc
