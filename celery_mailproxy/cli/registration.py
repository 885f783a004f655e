"""Every `celery worker` registers our tasks where this package is installed, whether its app imports them or not.

Celery discards a task that its worker does not know. One worker of several on a queue would be enough to lose mails
and reports.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from typing import Any

from celery.signals import celeryd_after_setup, celeryd_init

__all__ = ["register_in_workers"]

logger = logging.getLogger(__name__)

# Every `celery` command imports this module: what a worker needs is imported when one starts.
_TASKS = "celery_mailproxy.tasks"
_HOOKS = "celery_mailproxy.tasks.results.worker_hooks"


def register_in_workers() -> None:
    """Let the workers that this process starts register our tasks. Once is enough, and more does no harm."""
    celeryd_init.connect(_register, weak=False, dispatch_uid="celery_mailproxy.cli.registration")


def _register(instance: Any, **kwargs: Any) -> None:
    if _TASKS in sys.modules:
        return
    try:
        import_module(_TASKS)
        hooks = import_module(_HOOKS)
    except Exception as exc:
        # It may have nothing to do with mails: it is not kept from starting.
        problem = f"celery-mailproxy's tasks are not registered, an email that comes here is lost: {exc!r}"
        _say_later(lambda **kwargs: logger.error(problem))
        return
    # What was connected by the import is not called for this very signal.
    _say_later(hooks.report_unimported)
    hooks.confirm_in_worker(instance)


def _say_later(handler: Any) -> None:
    """Call the handler when the worker's log is set up."""
    celeryd_after_setup.connect(handler, weak=False, dispatch_uid="celery_mailproxy.cli.registration")
