"""A Celery project as a user would write it, configured by the environment; it runs in real worker processes.

Whatever is told to it goes as a JSON line into the file `TEST_EVENTS`, so that a test sees the events of every
process, killed ones included.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery
from kombu.transport import redis

from celery_mailproxy import send_many_via_proxy, send_via_proxy, signals

__all__ = ["app", "noted", "send_many_via_proxy", "send_via_proxy"]

EVENTS = Path(os.environ.get("TEST_EVENTS", os.devnull))

app = Celery("mail_app", include=["celery_mailproxy.tasks"])
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
app.conf.update(broker_connection_retry_on_startup=True, worker_cancel_long_running_tasks_on_connection_loss=True)

if not hasattr(redis.Channel, "unacked_restore_throttle"):
    # Before 5.7 kombu looks for the tasks of dead workers with every tenth of its calls only, once in 100 seconds, and
    # has no option for it (see MailStack). With every call it is once in 10 seconds.
    _restore_visible = redis.QoS.restore_visible
    redis.QoS.restore_visible = lambda self, start=0, num=10, interval=1: _restore_visible(self, start, num, 1)


def note(**event: Any) -> None:
    """Append one line; O_APPEND makes it whole whoever else writes."""
    with EVENTS.open("ab", buffering=0) as file:
        file.write(json.dumps({"pid": os.getpid(), "time": time.time(), **event}).encode() + b"\n")


def on_signal(signal: Any, report: Any, delivery: Any, **kwargs: Any) -> None:
    note(
        what="signal",
        name=signal.name,
        id=report.message_id,
        status=delivery.status.value if delivery else None,
        reason=report.reason,
    )
    _hang_where_told(report.message_id, report.kind.value)


def _hang_where_told(message_id: str, kind: str) -> None:
    """Wait to be killed, once, inside the handler of the report whose `<id>.<kind>` file exists beside the events."""
    gate = EVENTS.with_name(f"{message_id}.{kind}.hang")
    if gate.exists():
        gate.rename(gate.with_suffix(".hung"))
        time.sleep(60)


for each in (
    signals.mail_queued,
    signals.mail_rejected,
    signals.mail_sent,
    signals.mail_error,
    signals.mail_deferred,
    signals.mail_bounced,
    signals.mail_pec,
):
    each.connect(on_signal)


@app.task
def render(number: int) -> dict[str, Any]:
    """The task before a mail in a chain: its content."""
    return {"subject": f"Rendered {number}", "body": "From the task before"}


@app.task(bind=True)
def noted(self: Any, report: dict[str, Any], tag: str) -> str:
    """A chained task: notes the report that it got."""
    note(what="task", name=f"noted:{tag}", id=report["message_id"], kind=report["kind"], task_id=self.request.id)
    return tag
