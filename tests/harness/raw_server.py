"""A server on a bare socket, which answers as a test says: byte by byte, cut off, for ever."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["RawServer", "answer"]

#: Takes the request as it came, and gives the parts of the answer, one after the other; None closes the connection.
Script = Callable[[bytes], Iterable[bytes] | None]


def answer(body: Any, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole HTTP answer; a body that is no bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


class RawServer:
    """Enter it to start. `requests` are those that came; `reads` is False for one that takes no request in."""

    def __init__(self, script: Script, *, reads: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self._reads = reads
        self._tls = tls
        self._is_closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        # A certificate names the host.
        host = "localhost" if self._tls else "127.0.0.1"
        return f"{'https' if self._tls else 'http'}://{host}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> RawServer:
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._is_closing.set()
        for end in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join()

    def pause(self, seconds: float) -> None:
        """Sleep, but not past the end of the server."""
        self._is_closing.wait(seconds)

    def wait_for_the_end(self) -> None:
        """Sleep until the server is closed."""
        self._is_closing.wait()

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._is_closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        # A client that hangs up is what many tests are about.
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._connections.append(connection)
            with connection:
                while not self._is_closing.is_set() and self._answer(connection):
                    pass

    def _answer(self, connection: socket.socket) -> bool:
        if not self._reads:
            self.wait_for_the_end()
            return False
        request = _read(connection)
        if not request:
            return False
        self.requests.append(request)
        parts = self.script(request)
        if parts is None:
            return False
        for part in parts:
            if self._is_closing.is_set():
                return False
            connection.sendall(part)
        return True


def _read(connection: socket.socket) -> bytes:
    """One request, as far as its Content-Length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    while len(body) < length:
        if not (part := connection.recv(65536)):
            return b""
        body += part
    return head + b"\r\n\r\n" + body
