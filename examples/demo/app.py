"""The demo's Celery project: what a team writes to learn what became of its mail.

The broker is a folder and the results are files, so that nothing has to be installed or started; with
`broker_url = "redis://…"` the rest stays as it is.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery

from celery_mailproxy.dispatch import signals

FOLDER = Path(os.environ["DEMO_FOLDER"])

app = Celery("demo", include=["celery_mailproxy.tasks"])
app.conf.update(
    broker_url="filesystem://",
    broker_transport="examples.folder_broker:Transport",
    broker_transport_options={
        "data_folder_in": str(FOLDER / "broker"),
        "data_folder_out": str(FOLDER / "broker"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.1,
    },
    result_backend=f"file://{FOLDER / 'results'}",
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    # The settings of celery-mailproxy; the two tokens come from the environment (MAIL_PROXY_TOKEN, …_SYNC_TOKEN).
    mail_proxy_url=os.environ["DEMO_PROXY_URL"],
    mail_proxy_tenant="shop",
    mail_proxy_account="main",
    mail_proxy_from_email="Shop <shop@example.com>",
    mail_proxy_store=f"sqlite:///{FOLDER / 'deliveries.sqlite3'}",
)


def show(what: str, **fields: Any) -> None:
    """Append an event to the file that the demo follows."""
    line = json.dumps({"time": time.time(), "what": what, **fields})
    with (FOLDER / "events.jsonl").open("a") as events:
        events.write(line + "\n")


@signals.mail_queued.connect
@signals.mail_sent.connect
@signals.mail_deferred.connect
@signals.mail_error.connect
def on_mail(signal: Any, report: Any, delivery: Any, **kwargs: Any) -> None:
    """A handler of Celery signals: told of every mail, whoever sent it."""
    subject = delivery.summary["subject"] if delivery else "?"
    show("signal", name=signal.name, id=report.message_id, subject=subject, reason=report.reason)


@app.task
def ship_order(report: dict[str, Any], order: int) -> str:
    """A task chained to one mail by `on_sent`."""
    return told("ship_order", report, f"order {order} is on its way")


@app.task
def call_customer(report: dict[str, Any], order: int) -> str:
    """A task chained to one mail by `on_error`."""
    return told("call_customer", report, f"call the customer of order {order}: {report['reason']}")


@app.task
def note_delay(report: dict[str, Any], order: int) -> str:
    """A task chained to one mail by `on_deferred`."""
    return told("note_delay", report, f"order {order} waits: {report['reason']}")


def told(name: str, report: dict[str, Any], result: str) -> str:
    show("task", name=name, id=report["message_id"], result=result)
    return result
