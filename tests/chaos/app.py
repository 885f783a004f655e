"""The application whose mails they are: its tasks and handlers note in the ledger what they are told.

It runs in workers, receivers and callers, with Celery alone or as a Django project (`DJANGO_SETTINGS_MODULE`). The
environment variable `CHAOS` says how: `{"conf": Celery's configuration, "ledger": path}`.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from celery import Celery
from celery import signals as celery_signals
from kombu.transport import redis

from celery_mailproxy import signals
from celery_mailproxy.runtime import Runtime, get_runtime
from celery_mailproxy.tasks.confirmed_task import ConfirmedTask

from .ledger import Ledger

__all__ = ["app", "followed", "ledger", "noted", "render", "summarised"]

_GIVEN = json.loads(os.environ.get("CHAOS", "{}"))

ledger = Ledger(Path(_GIVEN.get("ledger", os.devnull)))

_is_django = "DJANGO_SETTINGS_MODULE" in os.environ

app = Celery("chaos", include=[] if _is_django else ["celery_mailproxy.tasks"])
app.conf.update(_GIVEN.get("conf", {}))
if _is_django:
    app.autodiscover_tasks()

#: One handler in so many takes a second, so that some die in the midst of it.
_ONE_IN_SLOW, _SLOW_SECONDS = 25, 1.0

#: The application's own tasks are not to be lost with their process.
_KEPT = {"acks_late": True, "reject_on_worker_lost": True}

#: Results that nobody moves on are looked at after so long. The default is for tasks that run for minutes.
_LEASE_SECONDS = 40.0
_runtime: Any = Runtime
_of_settings = vars(_runtime)["retention"].func
_runtime.retention = cached_property(lambda runtime: replace(_of_settings(runtime), lease_seconds=_LEASE_SECONDS))
vars(_runtime)["retention"].__set_name__(_runtime, "retention")

if not hasattr(redis.Channel, "unacked_restore_throttle"):
    # Before 5.7 kombu looks for the tasks of dead workers with every tenth of its calls only, and has no option for it.
    _restore_visible = redis.QoS.restore_visible
    redis.QoS.restore_visible = lambda self, start=0, num=10, interval=1: _restore_visible(self, start, num, 1)


@contextmanager
def _noted(what: str, **fields: Any) -> Iterator[None]:
    """Note the beginning and the end. What has begun and not ended died in between."""
    ledger.note(f"{what} begun", **fields)
    if zlib.crc32(json.dumps(fields).encode()) % _ONE_IN_SLOW == 0:
        time.sleep(_SLOW_SECONDS)
    yield
    ledger.note(f"{what} ended", **fields)


def on_signal(signal: Any, report: Any, delivery: Any, **kwargs: Any) -> None:
    with _noted("handler", signal=signal.name, id=report.message_id, key=report.key):
        pass


for _signal in (
    signals.mail_queued,
    signals.mail_rejected,
    signals.mail_sent,
    signals.mail_error,
    signals.mail_deferred,
    signals.delivery_reported,
):
    _signal.connect(on_signal)


@contextmanager
def _noted_run(task: Any, name: str, number: int, **fields: Any) -> Iterator[None]:
    redelivered = bool((task.request.delivery_info or {}).get("redelivered"))
    with _noted("run", name=name, number=number, task_id=task.request.id, redelivered=redelivered, **fields):
        yield


@app.task(name="chaos.noted", bind=True, ignore_result=True, **_KEPT)
def noted(self: Any, report: dict[str, Any], tag: str, number: int) -> None:
    """A callback: `on_sent`, `on_error`."""
    with _noted_run(self, f"on_{tag}", number, id=report["message_id"]):
        pass


# What Celery publishes of the application's own accord could be lost with its connection, and the chain or chord with
# it: these tasks are confirmed as the package's are. The callbacks need no base, for the package publishes them.


@app.task(name="chaos.render", base=ConfirmedTask, bind=True, **_KEPT)
def render(self: Any, number: int) -> dict[str, Any]:
    """The task before a mail in a chain."""
    with _noted_run(self, "rendered", number):
        return {"subject": f"Rendered {number}", "body": "From the task before"}


@app.task(name="chaos.followed", base=ConfirmedTask, bind=True, **_KEPT)
def followed(self: Any, report: dict[str, Any], number: int) -> int:
    """The task after a mail in a chain."""
    with _noted_run(self, "followed", number, id=report["message_id"]):
        return number


@app.task(name="chaos.summarised", base=ConfirmedTask, bind=True, **_KEPT)
def summarised(self: Any, results: list[dict[str, Any]], item: int) -> int:
    """A chord's body; `outcomes` are those of its mails, by message id."""
    outcomes = {result["message_id"]: result["outcome"] for result in results}
    with _noted_run(self, "summarised", item, outcomes=outcomes):
        return len(results)


@celery_signals.after_task_publish.connect
def on_publish(sender: str, body: Any, headers: dict[str, Any], **kwargs: Any) -> None:
    """The broker has a task of ours: a callback, or what follows a mail."""
    if sender in (noted.name, followed.name, summarised.name):
        args, kwargs = body[:2]
        report = args[0] if isinstance(args[0], dict) else {}
        name = f"on_{kwargs['tag']}" if "tag" in kwargs else sender.removeprefix("chaos.")
        number = kwargs.get("number", args[-1])
        ledger.note("published", name=name, number=number, task_id=headers["id"], by=report.get("message_id"))


@celery_signals.worker_process_init.connect
def on_process(**kwargs: Any) -> None:
    ledger.note("process", parent=os.getppid())
    _note_marks()


def _note_marks() -> None:
    """Note when a report is marked as dispatched, or failed to be: what came before was not cut short by a death."""
    store: Any = get_runtime(app).store
    mark_dispatched = store.mark_dispatched

    def mark_and_note(dispatched: Any) -> None:
        is_marked = False
        try:
            mark_dispatched(dispatched)
            is_marked = True
        finally:
            for each in dispatched:
                ledger.note("marked" if is_marked else "not marked", id=each.message_id, key=each.key)

    store.mark_dispatched = mark_and_note
