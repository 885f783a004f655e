"""A door before a server: while it is shut, connections are refused."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from celery_mailproxy.testing.ports import free_port

__all__ = ["Door"]


class Door:
    """Passes on what comes to `url`; `shut()` refuses all connections within the block, and ends those there are."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._port = free_port()
        self._server: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._ends: list[socket.socket] = []

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Door:
        self._open()
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    @contextmanager
    def shut(self) -> Iterator[None]:
        self._close()
        try:
            yield
        finally:
            self._open()

    def _open(self) -> None:
        self._server = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._start(self._accept, self._server)

    def _close(self) -> None:
        for end in [*([self._server] if self._server else []), *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._server = None
        for thread in self._threads:
            thread.join(10)
        self._threads, self._ends = [], []

    def _start(self, run: object, *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = server.accept()
                target = socket.create_connection(self._target, timeout=10)
                self._ends += [caller, target]
                self._start(self._pass_on, caller, target)

    def _pass_on(self, caller: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as selector, caller, target:
            selector.register(caller, selectors.EVENT_READ, target)
            selector.register(target, selectors.EVENT_READ, caller)
            while True:
                for key, _ in selector.select(1):
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                    if not data:
                        return
                    key.data.sendall(data)
