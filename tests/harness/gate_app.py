"""`mail_app` with handlers of `mail_submitting`: what a mail's subject names is done to it."""

from __future__ import annotations

from typing import Any

from celery_mailproxy import CancelSend, Submission
from celery_mailproxy.dispatch import signals

from .mail_app import app, note, on_signal

__all__ = ["app", "labelled"]

signals.mail_cancelled.connect(on_signal)
signals.mail_expired.connect(on_signal)


@signals.mail_submitting.connect
def on_submitting(submission: Submission, **kwargs: Any) -> None:
    subject = submission.message.subject
    if subject == "Withdraw":
        raise CancelSend("unsubscribed")
    if subject.startswith("To "):
        submission.replace(to=subject.removeprefix("To "), subject="Changed", headers={"X-Changed": "yes"})


@app.task
def labelled(report: dict[str, Any]) -> None:
    """A chained task: notes what the application had said of the mail."""
    note(what="task", name="labelled", id=report["message_id"], labels=[report["metadata"], report["tags"]])
