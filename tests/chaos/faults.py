"""What each kind of fault does to an installation, for as long as it lasts."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import redis

from celery_mailproxy.testing import RealProxy
from tests.harness.celery_worker import CeleryWorker
from tests.harness.server_process import ServerProcess
from tests.harness.wire import Wire

from .installation import Installation
from .plan import Fault, FaultKind
from .processes import family_of
from .relays import Mischief

__all__ = ["doing"]

#: The ids of the processes that a fault has killed.
Pids = list[int]

Each = TypeVar("Each")

#: What passes a slow wire takes so much longer, each way.
_SLOW_SECONDS = 0.15


@contextmanager
def doing(installation: Installation, fault: Fault) -> Iterator[Pids]:
    """The fault holds in this block, and is made good at its end. The list fills with the processes killed by then."""
    pids: Pids = []
    with _DOERS[fault.kind](installation, fault, pids):
        yield pids


def _one_of(fault: Fault, several: Sequence[Each]) -> Each:
    return several[int(fault.choice * len(several))]


def _killed(part: Callable[[Installation, Fault], ServerProcess]) -> Callable[..., AbstractContextManager[None]]:
    @contextmanager
    def kill(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
        process = part(installation, fault)
        if process.pid is not None:
            pids += family_of(process.pid)
        process.kill()
        try:
            yield
        finally:
            process.launch()
            if not isinstance(process, CeleryWorker):
                process.wait_ready()

    return kill


@contextmanager
def _pool_killed(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    children = [pid for worker in installation.workers.values() for pid in worker.pool_pids()]
    if children:
        pid = _one_of(fault, children)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        pids.append(pid)
    yield


@contextmanager
def _worker_parent_killed(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    worker = _one_of(fault, list(installation.workers.values()))
    if worker.pid is not None:
        # Its pool's processes end by themselves, as soon as they look.
        pids += family_of(worker.pid)
    worker.kill_parent()
    try:
        yield
    finally:
        worker.launch()


@contextmanager
def _proxy_killed(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    proxy: RealProxy = installation.proxy
    pids += [proxy.pid] if proxy.pid is not None else []
    proxy.kill()
    try:
        yield
    finally:
        proxy.start(timeout_seconds=120)


def _cut(wire: Callable[[Installation], Wire]) -> Callable[..., AbstractContextManager[None]]:
    @contextmanager
    def cut(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
        wire(installation).cut(share=_one_of(fault, (0.3, 0.6, 1.0)))
        yield

    return cut


def _silent(wire: Callable[[Installation], Wire], *, then_cut: bool) -> Callable[..., AbstractContextManager[None]]:
    @contextmanager
    def silence(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
        with wire(installation).silence():
            yield
            if then_cut:
                wire(installation).cut()

    return silence


@contextmanager
def _proxy_cut(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    installation.submissions.swallow_next(_one_of(fault, (1, 3, 6)))
    yield


@contextmanager
def _proxy_silent(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    # Half the time the requests have come to the proxy, whose answers are held back; else they have not.
    relay = installation.submissions
    with _one_of(fault, (relay.hold, relay.drop))():
        yield


def _reports(mischief: Mischief) -> Callable[..., AbstractContextManager[None]]:
    @contextmanager
    def play(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
        with installation.reports.playing(mischief, delay_seconds=fault.choice * 3):
            yield

    return play


@contextmanager
def _store_full(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    if installation.configuration.has_sqlite:
        with installation.disk.full():
            yield
        return
    with installation.store.client() as client:
        _configure(client, "1")
        try:
            yield
        finally:
            _configure(client, "0")


def _configure(client: redis.Redis, maxmemory: str) -> None:
    # It may be down at this moment: it comes back with no limit.
    with contextlib.suppress(redis.RedisError):
        client.config_set("maxmemory", maxmemory)


@contextmanager
def _store_slow(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    with installation.store_wire.slowness(_SLOW_SECONDS), contextlib.ExitStack() as stack:
        if installation.configuration.has_sqlite:
            stack.enter_context(_locked(installation))
        yield


@contextmanager
def _locked(installation: Installation) -> Iterator[None]:
    """Somebody else writes to SQLite's file all the time."""
    path = installation.disk.folder / "deliveries.sqlite3"
    connection: Any = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection), contextlib.suppress(sqlite3.OperationalError):
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
        return
    yield


@contextmanager
def _database_slow(installation: Installation, fault: Fault, pids: Pids) -> Iterator[None]:
    with installation.database_wire.slowness(_SLOW_SECONDS):
        yield


def _broker(installation: Installation) -> Wire:
    return installation.broker_wire


def _store(installation: Installation) -> Wire:
    return installation.store_wire


def _database(installation: Installation) -> Wire:
    return installation.database_wire


_DOERS: dict[FaultKind, Callable[..., AbstractContextManager[None]]] = {
    FaultKind.POOL_KILLED: _pool_killed,
    FaultKind.WORKER_KILLED: _killed(lambda parts, fault: _one_of(fault, list(parts.workers.values()))),
    FaultKind.WORKER_PARENT_KILLED: _worker_parent_killed,
    FaultKind.RECEIVER_KILLED: _killed(lambda parts, fault: _one_of(fault, list(parts.receivers.values()))),
    FaultKind.CALLER_KILLED: _killed(lambda parts, fault: _one_of(fault, list(parts.callers.values()))),
    FaultKind.BROKER_KILLED: _killed(lambda parts, fault: parts.broker),
    FaultKind.STORE_KILLED: _killed(lambda parts, fault: parts.store),
    FaultKind.DATABASE_KILLED: _killed(lambda parts, fault: parts.database),
    FaultKind.PROXY_KILLED: _proxy_killed,
    FaultKind.BROKER_CUT: _cut(_broker),
    FaultKind.STORE_CUT: _cut(_store),
    FaultKind.DATABASE_CUT: _cut(_database),
    FaultKind.PROXY_CUT: _proxy_cut,
    FaultKind.BROKER_SILENT: _silent(_broker, then_cut=True),
    FaultKind.STORE_SILENT: _silent(_store, then_cut=False),
    FaultKind.DATABASE_SILENT: _silent(_database, then_cut=False),
    FaultKind.PROXY_SILENT: _proxy_silent,
    FaultKind.REPORTS_DROPPED: _reports(Mischief.DROP),
    FaultKind.REPORTS_UNANSWERED: _reports(Mischief.SWALLOW),
    FaultKind.REPORTS_DOUBLED: _reports(Mischief.DOUBLE),
    FaultKind.REPORTS_REORDERED: _reports(Mischief.REORDER),
    FaultKind.REPORTS_DELAYED: _reports(Mischief.DELAY),
    FaultKind.STORE_FULL: _store_full,
    FaultKind.STORE_SLOW: _store_slow,
    FaultKind.DATABASE_SLOW: _database_slow,
}
