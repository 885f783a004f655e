"""A deadline for a whole call: httpx has time-outs for each read and each write alone.

A server that sends a byte now and then keeps to every one of those, for days: h11 takes 100 KB of headers. So the
streams of the pool's connections give each step what is left of the call's time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

__all__ = ["bound", "is_within", "within"]

#: When the call that this thread (or greenlet) makes has to be over, by `time.monotonic`.
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)

#: How much is written at a time: a server that reads slowly is noticed in between.
_WRITE_BYTES = 256 * 1024


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let the calls in this block, through a client that was `bound`, raise a time-out once they took so long."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def is_within() -> bool:
    """Whether this thread (or greenlet) is in such a block: it talks to a proxy."""
    return _deadline.get() is not None


def bound(http: httpx.Client) -> httpx.Client:
    """The client, whose connections keep to `within`. A transport of another kind is left as it is.

    httpx has no argument for httpcore's network backend. Where a later release keeps its pools elsewhere, single reads
    are still bounded; the test `test_httpx_still_keeps_its_network_backends_there` says so.
    """
    for transport in (http._transport, *http._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if (backend := getattr(pool, "_network_backend", None)) is not None:
            vars(pool)["_network_backend"] = _Backend(backend)
    return http


def _left(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    """The step's time-out, or what is left of the call's time where that is less."""
    deadline = _deadline.get()
    if deadline is None:
        return timeout
    left = deadline - time.monotonic()
    if left <= 0:
        raise error("the whole call took too long")
    return left if timeout is None else min(left, timeout)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        timeout = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._backend.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            self._stream.write(buffer[start : start + _WRITE_BYTES], _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
