"""A Celery project as a user would write it, configured by the environment; it runs in real worker processes.

Whatever is told to it goes as a JSON line into the file `TEST_EVENTS`, so that a test sees the events of every
process, killed ones included.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from celery import signals as celery_signals
from celery.exceptions import SoftTimeLimitExceeded
from kombu.transport import redis

from celery_mailproxy import DeliveryReport, attachment_resolver, deliver_via_proxy, send_many_via_proxy, send_via_proxy
from celery_mailproxy.dispatch import signals
from celery_mailproxy.dispatch.joining import Joiner
from celery_mailproxy.dispatch.resumer import RESUME_HEADER
from celery_mailproxy.dispatch.suppression import SuppressionNotes
from celery_mailproxy.tasks.results.deliver_task import DeliverTask
from celery_mailproxy.tasks.sending import handover

from . import held_tasks  # noqa: F401 - registers the command by which a test asks for them

__all__ = ["app", "noted", "send_many_via_proxy", "send_via_proxy"]

EVENTS = Path(os.environ.get("TEST_EVENTS", os.devnull))

app = Celery("mail_app", include=["celery_mailproxy.tasks"])
app.conf.update(broker_connection_retry_on_startup=True, worker_cancel_long_running_tasks_on_connection_loss=True)
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))

if not hasattr(redis.Channel, "unacked_restore_throttle"):
    # Before 5.7 kombu looks for the tasks of dead workers with every tenth of its calls only, once in 100 seconds, and
    # has no option for it (see MailStack). With every call it is once in 10 seconds.
    _restore_visible = redis.QoS.restore_visible
    redis.QoS.restore_visible = lambda self, start=0, num=10, interval=1: _restore_visible(self, start, num, 1)


_encode = handover.encode  # type: ignore[attr-defined]


def _encode_or_fail(message: Any) -> Any:
    """A mail with this subject meets an unexpected error."""
    if message.subject == "Unforeseen":
        raise ZeroDivisionError(f"{message.to} is divided by nothing")
    return _encode(message)


setattr(handover, "encode", _encode_or_fail)  # noqa: B010 - mypy knows no such attribute


@attachment_resolver("greeting")
def greeting(params: dict[str, str], tenant: str | None) -> bytes:
    """What an attachment by reference holds: `greeting=…`."""
    return f"Hello, {params['greeting']}!\n".encode()


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
    """Wait to be killed, once, inside the handler of the report whose `<id>.<kind>` file exists beside the events.

    With a `.hold` file: until that is gone; with a `.stubborn` file: for good, and ignoring a soft time limit.
    """
    gate = EVENTS.with_name(f"{message_id}.{kind}.hang")
    if gate.exists():
        gate.rename(gate.with_suffix(".hung"))
        time.sleep(600)
    while gate.with_suffix(".hold").exists():
        time.sleep(0.02)
    while gate.with_suffix(".stubborn").exists():
        with suppress(SoftTimeLimitExceeded):
            time.sleep(600)


def _hang_at(name: str, task_id: Any) -> None:
    """Hang, once, where `<task id>.<name>.hang` exists beside the events."""
    _hang(EVENTS.with_name(f"{task_id}.{name}.hang"))


def _hang(gate: Path) -> None:
    """Wait to be killed, or until the file that says so is deleted."""
    if not gate.exists():
        return
    hung = gate.rename(gate.with_suffix(".hung"))
    until = time.monotonic() + 600
    while hung.exists() and time.monotonic() < until:
        time.sleep(0.02)


@celery_signals.task_postrun.connect
def on_postrun(task_id: str, **kwargs: Any) -> None:
    # After `Ignore` as well: the mark is set, and the broker still waits for the acknowledgement.
    _hang_at("postrun", task_id)


@celery_signals.before_task_publish.connect
def on_publish(headers: dict[str, Any], **kwargs: Any) -> None:
    # What a task publishes when it ends: between the claim of a resumed run and the storing of its result.
    _hang_at("publish", headers.get("parent_id"))
    # What resumes a task: between the report of the end and the mark that its message was published.
    if RESUME_HEADER in headers:
        _hang_at("resume", headers.get("id"))


_report_of = Joiner.report_of


def on_join(self: Joiner, parent_id: str) -> DeliveryReport | None:
    # Between the record of a member's end and the report of the whole.
    _hang_at("join", parent_id)
    return _report_of(self, parent_id)


Joiner.report_of = on_join  # type: ignore[method-assign]


_note = SuppressionNotes.note


def on_suppress(self: SuppressionNotes, report: DeliveryReport, delivery: Any) -> None:
    # Between the record of a report and the note that its address gets no more mail.
    _hang_at("suppress", report.message_id)
    _note(self, report, delivery)


SuppressionNotes.note = on_suppress  # type: ignore[method-assign]


@celery_signals.task_prerun.connect
@celery_signals.task_postrun.connect
@celery_signals.task_success.connect
@celery_signals.task_failure.connect
def on_task_signal(signal: Any, sender: Any, **kwargs: Any) -> None:
    request = sender.request
    if sender.name.endswith(("deliver_via_proxy", "deliver_from_chunk", "welcome", "unheard")):
        came = {name: (request.delivery_info or {}).get(name) for name in ("exchange", "priority")}
        came["mine"] = (request.headers or {}).get("mine")
        if signal is celery_signals.task_success:
            came["value"] = kwargs["result"]
        if signal is celery_signals.task_failure:
            came["error"] = str(kwargs["exception"])
        note(what="task signal", name=signal.name, id=request.id, stamps=getattr(request, "stamps", None), **came)


@celery_signals.task_revoked.connect
def on_revoked(request: Any, **kwargs: Any) -> None:
    note(what="task signal", name="task_revoked", id=request.id)


for each in (
    signals.mail_queued,
    signals.mail_rejected,
    signals.mail_sent,
    signals.mail_error,
    signals.mail_deferred,
    signals.mail_bounced,
    signals.mail_complained,
    signals.mail_suppressed,
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


@app.task
def add(value: Any = None, number: int = 1) -> Any:
    """Whatever came before, noted and passed on."""
    note(what="task", name="add", id=str(number), value=value)
    return number


@app.task
def summarise(results: list[Any]) -> dict[str, int]:
    """A chord's body: how many of what."""
    note(what="task", name="summarise", id="chord", number=len(results))
    return {"number": len(results)}


@app.task
def failed(request: Any, exc: Any, traceback: Any) -> None:
    """A link_error of the new style."""
    note(what="task", name="failed", id=request.id, error=type(exc).__name__)


@app.task
def failed_old(task_id: str) -> None:
    """A link_error of the old style."""
    note(what="task", name="failed_old", id=task_id)


class Welcome(DeliverTask):
    """A task class of the user's own, with hooks."""

    abstract = True

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(what="hook", name="on_success", id=task_id)

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(what="hook", name="on_failure", id=task_id)

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(what="hook", name="on_retry", id=task_id)


@app.task(bind=True, base=Welcome, autoretry_for=(Exception,), max_retries=2, retry_backoff=False, typing=False)
def welcome(self: Any, *content: Any, **arguments: Any) -> Any:
    """A mail with a task of its own, which retries whatever fails."""
    return deliver_via_proxy.run.__func__(self, *content, **arguments)


@app.task(bind=True)
def replaced(self: Any, value: Any, to: str) -> Any:
    """A task that becomes a mail."""
    raise self.replace(deliver_via_proxy.s(to=[to], subject="Replaced", body="B"))


@app.task(ignore_result=True, bind=True, base=DeliverTask, typing=False)
def unheard(self: Any, *content: Any, **arguments: Any) -> Any:
    """A mail whose result nobody wants."""
    return deliver_via_proxy.run.__func__(self, *content, **arguments)
