"""A relay between the worker and the proxy, which can hold back or swallow answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from .waiting import PATIENCE_SECONDS

__all__ = ["Relay"]


class Relay:
    """Passes every request on to `target`, and its answer back.

    While `hold()` is entered, answers to submissions wait until the end of the block; `swallow_next(n)` closes the
    connection in place of the next n answers. Either way the proxy has got the request: `passed` counts submissions
    that it answered. `drop()` keeps them from the proxy instead, and closes their connections at the end of the block;
    `came` counts all that were to be passed on.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.came = 0
        self.passed = 0
        self._open = threading.Event()
        self._open.set()
        self._is_dropping = False
        self._to_swallow = 0
        self._lock = threading.Lock()
        self._client = httpx.Client(base_url=target, timeout=PATIENCE_SECONDS, trust_env=False)
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._client.close()

    @contextmanager
    def hold(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextmanager
    def drop(self) -> Iterator[None]:
        self._is_dropping = True
        with self.hold():
            yield
        self._is_dropping = False

    def swallow_next(self, count: int = 1) -> None:
        with self._lock:
            self._to_swallow = count

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response | None:
        is_submission = method == "POST" and not _is_empty(body)
        if is_submission:
            self.came += 1
            if self._is_dropping:
                self._open.wait()
                return None
        response = self.forward(method, path, headers, body)
        if not is_submission:
            return response
        with self._lock:
            self.passed += 1
            is_swallowed = self._to_swallow > 0
            self._to_swallow -= is_swallowed
        self._open.wait()
        return None if is_swallowed else response

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """The target's answer."""
        return self._client.request(method, path, headers=headers, content=body)


def _is_empty(body: bytes) -> bool:
    """Whether it submits nothing: so a worker finds out which release the proxy is."""
    try:
        return bool(json.loads(body) == {"messages": []})
    except ValueError:
        return False


#: The headers that are passed on.
_KEPT = ("authorization", "content-type", "x-api-token")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], relay: Relay) -> None:
        self.relay = relay
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A worker that was killed has closed its end: that is what the relay is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._relay()

    do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        kept = {name: value for name, value in self.headers.items() if name.lower() in _KEPT}
        response = self.server.relay.pass_on(self.command, self.path, kept, body)
        if response is None:
            self.close_connection = True
            return
        self.send_response(response.status_code)
        self.send_header("content-type", response.headers.get("content-type", "application/json"))
        self.send_header("content-length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)
