"""A tap on a wire to a server: what passes is seen, and can be swallowed or cut off at a byte."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from celery_mailproxy.testing.ports import free_port

__all__ = ["Tap"]

#: `(data, whether it goes to the server)` → whether it may pass. If not, all connections are closed.
Watch = Callable[[bytes, bool], bool]


class Tap:
    """Passes on what comes to `port` to `target_port`, both on 127.0.0.1, and back.

    Within `silence()` everything is swallowed, in both directions: connections stay, and hear nothing. What was
    swallowed (`swallowed` bytes that were to reach the server) never arrives. `cut()` closes all connections; within
    `shut()` new ones are refused, too.
    """

    def __init__(self, target_port: int, *, watch: Watch | None = None) -> None:
        self.port = free_port()
        self.swallowed = 0
        self._target_port = target_port
        self._watch = watch
        self._is_silent = False
        self._server: socket.socket | None = None
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tap:
        self._listen()
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    @contextmanager
    def shut(self) -> Iterator[None]:
        self._close()
        try:
            yield
        finally:
            self._listen()

    @contextmanager
    def silence(self) -> Iterator[None]:
        self._is_silent = True
        try:
            yield
        finally:
            self._is_silent = False

    def cut(self) -> None:
        ends, self._ends = self._ends, []
        for end in ends:
            _hang_up(end)

    def _listen(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept, self._server)

    def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            _hang_up(server)
        self.cut()
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(10)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                try:
                    target = socket.create_connection(("127.0.0.1", self._target_port), timeout=10)
                except OSError:
                    _hang_up(client)
                    continue
                self._ends += [client, target]
                self._start(self._pass_on, client, target)

    def _pass_on(self, client: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector, client, target:
            selector.register(client, selectors.EVENT_READ, target)
            selector.register(target, selectors.EVENT_READ, client)
            while True:
                ready = selector.select(1)
                if -1 in (client.fileno(), target.fileno()):
                    return
                for key, _ in ready:
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    to_server = key.data is target
                    if self._watch is not None and not self._watch(data, to_server):
                        self.cut()
                        return
                    if self._is_silent:
                        self.swallowed += len(data) * to_server
                    else:
                        key.data.sendall(data)


def _hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
