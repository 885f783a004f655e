"""The application of the benchmark: an empty task to compare with, and nobody who listens to the mails."""

from __future__ import annotations

import json
import os

from celery import Celery

__all__ = ["app"]

app = Celery("completions", include=["celery_mailproxy.tasks"])
app.conf.update(json.loads(os.environ.get("TEST_CONF", "{}")), broker_connection_retry_on_startup=True)


@app.task(name="empty")
def empty() -> None:
    """What Celery itself costs."""
