"""The worker's step: a thread of its main process that makes the rounds, whatever the pool.

`tasks.results.worker_hooks` adds it by its name to every worker with our tasks; `mail_proxy_maintenance_seconds` says
how often, and 0 that it is not to run.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import Celery, bootsteps

from ..errors import MailProxyError
from ..runtime import get_runtime
from . import tasks
from .board import BOARD
from .duties import POLL_SECONDS, POLLING
from .leader import Maintenance

__all__ = ["MaintenanceStep", "MaintenanceThread", "MaintenanceThreads", "tasks"]

logger = logging.getLogger(__name__)

#: How long the end of a worker waits for the duty that is being done.
_STOP_SECONDS = 5.0


class MaintenanceThread:
    """Makes a round every `seconds`, from `start` to `stop`; `options` are those of `Maintenance`."""

    def __init__(self, app: Celery, *, name: str, seconds: float, lease: str = BOARD, **options: Any) -> None:
        self._seconds = seconds
        self._stopped = threading.Event()
        self._maintenance = Maintenance(app, name=name, lease=lease, is_stopping=self._stopped.is_set, **options)
        self._thread = threading.Thread(target=self._run, name=f"mailproxy-{lease}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, *, wait_seconds: float = _STOP_SECONDS) -> None:
        """End after the duty that is being done; what takes longer is left to whoever leads next."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(wait_seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._maintenance.round()
            self._stopped.wait(self._seconds)
        self._maintenance.resign()


class MaintenanceThreads:
    """Several of them, which start and end together."""

    def __init__(self, *threads: MaintenanceThread) -> None:
        self._threads = threads

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, *, wait_seconds: float = _STOP_SECONDS) -> None:
        for thread in self._threads:
            thread.stop(wait_seconds=wait_seconds)


class MaintenanceStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the thread with the worker, and ends it first."""

    # After the pool: its first processes are forked before there are threads.
    requires = ("celery.worker.components:Pool",)
    label = "MailProxyMaintenance"
    conditional = True

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._polls = False
        try:
            settings = get_runtime(parent.app).settings
            self._seconds = settings.maintenance_seconds
            self._polls = settings.reports == "poll"
        except MailProxyError:
            # Whoever needs the settings says what is wrong with them.
            self._seconds = 0.0
        self.enabled = self._seconds > 0

    def create(self, parent: Any) -> MaintenanceThreads:
        threads = [MaintenanceThread(parent.app, name=parent.hostname, seconds=self._seconds)]
        if self._polls:
            options: dict[str, Any] = {"lease": "polling", "duties": POLLING, "round_seconds": POLL_SECONDS}
            threads.append(MaintenanceThread(parent.app, name=parent.hostname, seconds=POLL_SECONDS, **options))
        return MaintenanceThreads(*threads)

    def terminate(self, parent: Any) -> None:
        self.obj.stop(wait_seconds=0)
