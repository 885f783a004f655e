"""A suspended run raises `Ignore`, which is expensive in Celery; this makes it cheap.

Celery copies the traceback of each `Ignore`, twice, and sends a copy to the worker's main process: 33 KB on Python 3.11
and later, a third of such a run's time. Nobody looks at it. Celery's tracer does all else, as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import current_app
from celery.app import trace as tracing
from celery.app.trace import TraceInfo
from celery.exceptions import Ignore
from celery.utils.log import get_logger

from .deliver_task import DeliverTask

__all__ = ["light_tracer", "use_light_tracers"]

logger = get_logger("celery.app.trace")


class _Info(TraceInfo):  # type: ignore[misc]
    """What is done about a run's end; for an ignored one, Celery's line in the log without the error's rest."""

    def handle_ignore(self, task: Any, req: Any, **kwargs: Any) -> None:
        logger.info("Task %s[%s] ignored", task.name, req.id)


def light_tracer(task: Any, *, hostname: str | None = None) -> Callable[..., Any]:
    """The tracer of a task, for `task.__trace__`, as a process of the prefork pool has it."""
    # Asked for now: Sentry and the like put another one in its place, often not before the worker starts.
    trace = tracing.build_tracer(task.name, task, task.app.loader, hostname, Info=_Info, app=task.app)

    def light_trace(*args: Any, **kwargs: Any) -> Any:
        traced = trace(*args, **kwargs)
        if isinstance(traced.info, _Info) and isinstance(traced.info.retval, Ignore):
            return traced._replace(retval=_IGNORED)
        return traced

    return light_trace


def _ignored() -> ExceptionInfo:
    """What the main process acknowledges the task by, without a traceback."""
    info = ExceptionInfo.__new__(ExceptionInfo)
    info.type, info.exception, info.traceback, info.internal = Ignore, Ignore(), "", True
    return info


_IGNORED = _ignored()


def use_light_tracers(sender: Any = None, **kwargs: Any) -> None:
    """Give this process's tasks whose results follow the mail their tracer. A handler of `worker_process_init`."""
    for task in current_app.tasks.values():
        if isinstance(task, DeliverTask):
            task.__trace__ = light_tracer(task, hostname=sender)
