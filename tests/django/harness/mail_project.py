"""The Celery application of the tests' Django project, as its `celery.py` would have it; workers run it.

`TEST_CONF` is further configuration (JSON); what its tasks and handlers are told goes into the file `TEST_EVENTS`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery

from celery_mailproxy.migration.routing import Router
from tests.harness import held_tasks  # noqa: F401 - registers the command by which a test asks for them

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.settings")

app = Celery("mail_project", set_as_current="TEST_CONF" in os.environ)
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")))
app.conf.update(broker_connection_retry_on_startup=True)
app.autodiscover_tasks()

# What is set in the store holds for the next mail: no test has to wait until a worker looks again.
Router.share_seconds = 0.0

EVENTS = Path(os.environ.get("TEST_EVENTS", os.devnull))


@app.task(name="tests.noted")
def noted(report: dict[str, Any], tag: str) -> None:
    """A chained task: notes the report that it got."""
    with EVENTS.open("ab", buffering=0) as file:
        file.write(json.dumps({"name": f"noted:{tag}", "id": report["message_id"]}).encode() + b"\n")
