"""Celery's events as a monitor gets them: Flower, or an operator's `celery events`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery

from .waiting import wait_until

__all__ = ["heard_events"]


@contextmanager
def heard_events(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """The events of the block. A worker with events on must run: that its heartbeat is heard says that all will be."""
    heard: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "timeout": None, "wakeup": False})
        thread.start()
        try:
            wait_until(lambda: heard, "the worker's heartbeat")
            yield heard
        finally:
            receiver.should_stop = True
            thread.join()
