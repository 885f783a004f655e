"""What a worker with these tasks does at its start, beside running them."""

from __future__ import annotations

from typing import Any

from ...errors import ConfigurationError
from ...runtime import get_runtime

__all__ = ["add_maintenance", "check_settings"]

#: The worker's step that does the maintenance. It stands above this room: Celery imports it.
_MAINTENANCE_STEP = "celery_mailproxy.maintenance.step:MaintenanceStep"


def check_settings(instance: Any, **kwargs: Any) -> None:
    """Keep a worker with wrong settings from starting: it would hold up every mail that it takes.

    A handler of Celery's signal `celeryd_init`.
    """
    try:
        get_runtime(instance.app).settings.server_names()
    except ConfigurationError as exc:
        raise SystemExit(f"Error: {exc}") from exc


def add_maintenance(instance: Any, **kwargs: Any) -> None:
    """Let the worker do the maintenance by itself, in turn with the others. A handler of `celeryd_init`."""
    instance.app.steps["worker"].add(_MAINTENANCE_STEP)
