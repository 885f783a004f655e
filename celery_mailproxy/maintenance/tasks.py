"""The task for Celery beat, where workers are not to do the maintenance by themselves."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from ..conf import task_names
from ..tasks.confirmed_task import ConfirmedTask
from .leader import Maintenance

__all__ = ["maintain"]


@shared_task(bind=True, base=ConfirmedTask, name=task_names.MAINTAIN, ignore_result=False, typing=False)
def maintain(self: Any) -> dict[str, int]:
    """Do the duties of the maintenance whose time has come. For Celery beat, every 30 seconds.

    Returns how much each had to do: `{"outbox": n, "results": n, …}`; nothing where another one is at it.
    """
    maintenance = Maintenance(self.app, name=f"a task on {self.request.hostname or 'this machine'}")
    try:
        return maintenance.round() or {}
    finally:
        maintenance.resign()
