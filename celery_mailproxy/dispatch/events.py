"""`EventSender`: Celery events about mails, for Flower, `celery events` and `celery mailproxy tail`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from celery import Celery
from celery.utils.nodenames import anon_nodename

from ..runtime import Producers, Runtime

__all__ = ["EventSender", "events_of"]

logger = logging.getLogger(__name__)

#: Onlookers see an event this much later: a busy worker sends all that happen meanwhile at once.
_DELAY_SECONDS = 0.1

#: How many events wait at most; where more come, they are sent at once.
_LIMIT = 100

#: How long no event is sent after some could not be: without a broker each would cost its time-out again.
_PAUSE_SECONDS = 30.0

#: The types of event that may share a message, as Celery's own workers send theirs.
_GROUPS = frozenset({"mail", "task"})

_Event = tuple[str, dict[str, Any]]


class EventSender:
    """Sends events in bundles, over one connection which it keeps: publishing each costs more than most tasks.

    Never raises: events are for onlookers, and a mail is not held up for them. With `is_on` False, and in eager mode,
    nothing is sent.
    """

    def __init__(self, *, app: Celery, producers: Producers, is_on: bool = True) -> None:
        self._app = app
        self._producers = producers
        self._is_on = is_on
        # One for what waits, one for the connection: nobody who has an event waits for the broker.
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: dict[str, list[_Event]] = {}
        self._count = 0
        self._paused_until = 0.0
        self._held = ExitStack()
        self._dispatchers: dict[str, Any] = {}
        self._own_name = anon_nodename()

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Send an event soon; the field `hostname` says in whose name, by default this process's."""
        if self._is_on and not self._app.conf.task_always_eager:
            values = dict(fields)
            self.send(event, values, hostname=values.pop("hostname", None))

    def send(self, event: str, fields: Mapping[str, Any], *, hostname: str | None = None) -> None:
        """Send an event soon, in the name of `hostname` (by default this process's)."""
        if time.monotonic() < self._paused_until:
            return
        dated = (event, {"timestamp": time.time(), **fields})
        with self._lock:
            self._waiting.setdefault(hostname or self._own_name, []).append(dated)
            self._count += 1
            count = self._count
        if count == 1:
            # Not a daemon: a process that ends sends its last events first.
            threading.Timer(_DELAY_SECONDS, self.flush).start()
        elif count >= _LIMIT:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        with self._sending:
            with self._lock:
                waiting, self._waiting, self._count = self._waiting, {}, 0
            try:
                for hostname, events in waiting.items():
                    self._publish(hostname, events)
            except Exception:
                logger.debug("events were not sent", exc_info=True)
                self._paused_until = time.monotonic() + _PAUSE_SECONDS
                self._let_go()

    def close(self) -> None:
        """Send what waits, and let go of the connection."""
        self.flush()
        with self._sending:
            self._let_go()

    def _publish(self, hostname: str, events: list[_Event]) -> None:
        dispatcher = self._dispatchers.get(hostname) or self._connect(hostname)
        for event, fields in events:
            dispatcher.send(event, retry=False, **fields)
        dispatcher.flush()

    def _connect(self, hostname: str) -> Any:
        if not self._dispatchers:
            self._producer = self._held.enter_context(self._producers.acquire())
        dispatcher = self._app.events.Dispatcher(
            self._producer.connection,
            hostname=hostname,
            channel=self._producer.channel,
            buffer_group=_GROUPS,
            buffer_limit=_LIMIT,
        )
        # Celery's own would wait for RabbitMQ's confirmation without a bound.
        dispatcher.producer = self._producer
        self._dispatchers[hostname] = dispatcher
        return dispatcher

    def _let_go(self) -> None:
        self._dispatchers.clear()
        self._held.close()


def events_of(runtime: Runtime) -> EventSender:
    """The app's sender of events in this process; silent with `mail_proxy_events = False`."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> EventSender:
    return EventSender(app=runtime.app, producers=runtime.producers, is_on=runtime.settings.events)
