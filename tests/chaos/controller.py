"""The controller: carries out the plan, and looks after what died by itself, as a service manager would."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx

from tests.harness.server_process import ServerProcess

from .faults import doing
from .installation import Installation
from .plan import Fault

__all__ = ["Controller"]

#: How often dead processes are looked for, and the proxy is asked to report what it could not report before.
_ROUND_SECONDS = 2.0


class Controller:
    """Does the faults of a plan, each in a thread of its own."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._locks: dict[str, threading.Lock] = {}
        self._busy = threading.Lock()
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def carry_out(self, plan: Sequence[Fault], *, began_at: float) -> None:
        """Do each fault at its time; returns when the last is made good."""
        for fault in plan:
            time.sleep(max(0.0, began_at + fault.at - time.time()))
            self._start(self._do, fault)
        for thread in self._threads[1:]:
            thread.join()

    def _do(self, fault: Fault) -> None:
        ledger = self._installation.ledger
        # What it takes to start a server is no part of the plan: the next fault of that target may be due by then.
        with self._lock(fault.kind.target):
            ledger.note("fault begun", number=fault.number, kind=fault.kind.value)
            pids: list[int] = []
            problem = None
            try:
                with doing(self._installation, fault) as pids:
                    ledger.note("killed", pids=list(pids), number=fault.number)
                    self._ended.wait(fault.seconds)
            except Exception as exc:
                problem = repr(exc)
            ledger.note("fault ended", number=fault.number, kind=fault.kind.value, problem=problem)

    def _lock(self, target: str) -> threading.Lock:
        with self._busy:
            return self._locks.setdefault(target, threading.Lock())

    @contextmanager
    def looking_after(self) -> Iterator[None]:
        """In this block the dead are started again, and the proxy does not wait with its reports."""
        self._start(self._look_after)
        try:
            yield
        finally:
            # Before anything is ended: a fault that is made good starts what it has killed.
            self._ended.set()
            for thread in self._threads:
                thread.join()

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _look_after(self) -> None:
        while not self._ended.wait(_ROUND_SECONDS):
            for name, process in self._installation.processes.items():
                self._revive(name, process)
            with contextlib.suppress(httpx.HTTPError, RuntimeError):  # its client is closed when it is killed
                self._installation.nudge()

    def _revive(self, name: str, process: ServerProcess) -> None:
        lock = self._lock(next(each for each in ("caller", "receiver", "worker") if name.startswith(each)))
        # Whoever is killing one starts it again.
        if not lock.acquire(blocking=False):
            return
        try:
            died = process.process if process.pid is None else None
            # A caller that has called all is done.
            if died is not None and not (name.startswith("caller") and died.returncode == 0):
                last_lines = process.log[-2000:]
                self._installation.ledger.note("died by itself", name=name, pids=[died.pid], log=last_lines)
                process.launch()
        finally:
            lock.release()
