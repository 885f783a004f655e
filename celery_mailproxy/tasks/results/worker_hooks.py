"""What a worker with these tasks does at its start, beside running them."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ...runtime import get_runtime

__all__ = ["check_settings"]


def check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes.

    A handler of Celery's signal `celeryd_init`.
    """
    try:
        get_runtime(instance.app).settings.server_names()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc
