"""`EventSender`: Celery events about mails, for Flower, `celery events` and `celery mailproxy tail`."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from celery import Celery
from celery.utils.nodenames import anon_nodename

from .publisher import ReportPublisher

__all__ = ["EventSender"]


class EventSender:
    """Sends events over one connection, which it keeps: a dispatcher for each event would cost more than the event."""

    def __init__(self, *, app: Celery, publisher: ReportPublisher) -> None:
        self._app = app
        self._publisher = publisher
        self._lock = threading.Lock()
        self._held = ExitStack()
        self._dispatcher: Any = None
        self._own_name = anon_nodename()

    def send(self, event: str, fields: Mapping[str, Any], *, hostname: str | None = None) -> None:
        """Send one event, in the name of `hostname` (by default this process's).

        Raises what the broker's client raises; the next call connects anew.
        """
        with self._lock:
            try:
                if self._dispatcher is None or (hostname or self._own_name) != self._dispatcher.hostname:
                    self._let_go()
                    producer = self._held.enter_context(self._publisher.producer())
                    self._dispatcher = self._app.events.Dispatcher(
                        producer.connection, hostname=hostname or self._own_name, channel=producer.channel
                    )
                self._dispatcher.send(event, retry=False, **fields)
            except Exception:
                self._let_go()
                raise

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        self._dispatcher = None
        self._held.close()
