"""A project whose application never imports celery_mailproxy: another worker on the same queue.

It has the task of `mail_app` that is chained to mails, and notes its runs in the same file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery

EVENTS = Path(os.environ.get("TEST_EVENTS", os.devnull))

app = Celery("bare_app", set_as_current=False)
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
app.conf.update(broker_connection_retry_on_startup=True)


@app.task(name="tests.harness.mail_app.noted")
def noted(report: dict[str, Any], tag: str) -> str:
    """As in `mail_app`."""
    event = {"what": "task", "name": f"noted:{tag}", "id": report["message_id"], "pid": os.getpid()}
    with EVENTS.open("ab", buffering=0) as file:
        file.write(json.dumps(event).encode() + b"\n")
    return tag
