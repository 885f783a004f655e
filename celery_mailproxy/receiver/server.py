"""`ReportServer`: waitress, in threads of a process that has something else to do and may fork meanwhile.

waitress (3.0) reads a request's whole body before it asks the application, lets idle connections keep others out, and
has no shutdown that lets requests finish. All three are fixed where it takes subclasses: of its parser and its channel
(`channel`), and of its server here.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from typing import Any

from celery import Celery

from ..errors import ConfigurationError
from .connections import Connections, connection_limit
from .default import served_receiver
from .receiver import ReportReceiver
from .sockets import bind_sockets
from .wsgi import create_app

try:
    from waitress import wasyncore
    from waitress.adjustments import Adjustments
    from waitress.server import TcpWSGIServer
    from waitress.task import ThreadedTaskDispatcher

    from .channel import PATIENCE_BYTES, Channel, fork_gate
except ImportError as exc:
    raise ConfigurationError(
        'the listener needs the server waitress. Install it: pip install "celery-mailproxy[server]"'
    ) from exc

__all__ = ["ReportServer", "open_server"]

logger = logging.getLogger(__name__)

_THREADS = 4

#: How long the loop sleeps at most, and so how soon it sees that it has to stop.
_LOOP_SECONDS = 0.5

#: A head with its token is far shorter. waitress searches all of it anew with each piece that comes.
_MAX_HEAD_BYTES = 16 * 1024

#: How many connections are taken in one turn of the loop.
_ACCEPTED_AT_ONCE = 100

#: What `accept` says where the process or the system has no file left.
_NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_live_servers: set[ReportServer] = set()


class ReportServer:
    """Serves a receiver over HTTP on `host` and `port` (0: a free one), from `start` to `stop`.

    The port is taken at once, so that one in use is noticed early: `ConfigurationError`. A forked child lets go of
    everything: it neither answers nor keeps the port or a connection open.
    """

    def __init__(self, receiver: ReportReceiver, *, host: str, port: int) -> None:
        _watch_forks()
        self._map: dict[int, Any] = {}
        self._tasks = ThreadedTaskDispatcher()
        self._thread: threading.Thread | None = None
        self._look_at = 0.0
        self._deadline: float | None = None
        self._connections = Connections(connection_limit())
        sockets = bind_sockets(host, port)
        adjustments = Adjustments(
            sockets=sockets,
            ident=None,
            # A backstop: the exact limit is ours, and waitress counts the framing of chunks as well.
            max_request_body_size=2 * receiver.max_report_bytes + PATIENCE_BYTES,
            max_request_header_size=_MAX_HEAD_BYTES,
        )
        application = _gated(create_app(receiver=receiver))
        self._servers = [
            _Server(application, self._map, s, self._tasks, adjustments, receiver, self._connections) for s in sockets
        ]
        _live_servers.add(self)

    @property
    def urls(self) -> list[str]:
        """Where the server can be reached, `http://127.0.0.1:9100`, as far as the addresses it is bound to say."""
        hosts = [(server.effective_host, server.effective_port) for server in self._servers]
        return [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in hosts]

    def start(self) -> None:
        """Answer requests from now on."""
        self._tasks.set_thread_count(_THREADS)
        self._thread = threading.Thread(target=self._run, name="mailproxy-listener", daemon=True)
        self._thread.start()

    def stop(self, *, drain_seconds: float = 15.0) -> None:
        """Take no more connections, let requests that have begun finish within `drain_seconds`, and end.

        What is not finished by then stays unanswered, and the proxy sends it again.
        """
        self._deadline = time.monotonic() + drain_seconds
        if self._thread is not None:
            self._thread.join(drain_seconds + 5)
        if self._thread is None or not self._thread.is_alive():
            # Also again: what could not be closed the first time, for a thread that was still running.
            self._close()

    def _run(self) -> None:
        try:
            while self._deadline is None:
                self._turn(_LOOP_SECONDS)
            for server in self._servers:
                # Not the server's own close(): that takes away the trigger by which running requests answer.
                wasyncore.dispatcher.close(server)
            while self._connections.make_room():
                # Nobody waits for what a stranger may still be about to send.
                continue
            while time.monotonic() < self._deadline and self._close_idle_channels():
                self._turn(0.05)
        except Exception:
            logger.critical("the mailproxy listener broke down; restart the worker", exc_info=True)
        finally:
            # Also after a breakdown: connections that nobody answers would hold up the proxy for minutes each.
            self._close()

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._map, count=1)
        if time.monotonic() > self._look_at:
            self._connections.drop_late()
            self._look_at = time.monotonic() + _LOOP_SECONDS

    def _close_idle_channels(self) -> bool:
        """Mark the connections without a request for closing; whether any connection is left."""
        channels = [channel for server in self._servers for channel in list(server.active_channels.values())]
        for channel in channels:
            if not channel.requests and channel.request is None and not channel.total_outbufs_len:
                channel.will_close = True
        return bool(channels)

    def _close(self) -> None:
        _live_servers.discard(self)
        for server in self._servers:
            for channel in list(server.active_channels.values()):
                wasyncore.dispatcher.close(channel)
            wasyncore.dispatcher.close(server)
        self._tasks.shutdown(timeout=0.5)
        if not self._tasks.threads:
            # A thread that still runs could write to the trigger's number when somebody else has it.
            wasyncore.close_all(self._map, ignore_all=True)

    def _abandon(self) -> None:
        """Close this process's copies of everything, without a lock: the threads that may hold one are gone."""
        wasyncore.close_all(self._map, ignore_all=True)


def open_server(app: Celery, receiver: ReportReceiver | None, *, host: str, port: int) -> ReportServer:
    """A server for the receiver, by default the app's own; it has its port, and is yet to be started."""
    return ReportServer(served_receiver(app, receiver, {}), host=host, port=port)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    channel_class = Channel

    def __init__(
        self,
        application: Any,
        socket_map: dict[int, Any],
        sock: socket.socket,
        tasks: Any,
        adjustments: Any,
        receiver: ReportReceiver,
        connections: Connections,
    ) -> None:
        self.receiver = receiver
        self.connections = connections
        self._accepts_from = 0.0
        super().__init__(
            application,
            map=socket_map,
            _sock=sock,
            dispatcher=tasks,
            adj=adjustments,
            sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            bind_socket=False,
        )

    def readable(self) -> bool:
        # In place of waitress's: its limit keeps everybody waiting who comes late, and its clean-up comes too seldom.
        is_ready = self.accepting and time.monotonic() >= self._accepts_from
        return is_ready and self.connections.can_take_one

    def handle_accept(self) -> None:
        # Many in one turn, which takes the longer, the more connections there are.
        for _ in range(_ACCEPTED_AT_ONCE):
            # Between its acceptance and its entry in the map, a forked child would not know that it has the connection.
            with fork_gate.busy():
                if not self.connections.can_take_one or not self._accept_one():
                    return

    def _accept_one(self) -> bool:
        """Take one connection; whether there may be another one to take."""
        try:
            accepted = self.accept()
        except OSError as exc:
            if exc.errno in _NO_FILES and not self.connections.make_room():
                logger.error("the mailproxy listener takes no connection for a second: %s", exc)
                self._accepts_from = time.monotonic() + 1
            return False
        if accepted is None:
            return False
        connection, address = accepted
        with suppress(OSError):
            # Some systems refuse options where the other side has gone already; that is found out soon enough.
            self.set_socket_options(connection)
        self.channel_class(self, connection, self.fix_addr(address), self.adj, map=self._map)
        return True


def _gated(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def gated(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with fork_gate.busy():
            return application(environ, start_response)

    return gated


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=fork_gate.before_fork,
            after_in_parent=fork_gate.after_fork_in_parent,
            after_in_child=_abandon_all,
        )


def _abandon_all() -> None:
    fork_gate.after_fork_in_child()
    for server in list(_live_servers):
        server._abandon()
    _live_servers.clear()
