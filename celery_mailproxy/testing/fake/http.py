"""The fake proxy's HTTP server: keep-alive, one thread per connection, and every way a request can fail."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery_mailproxy.testing.fake.dialect import Answer, Crash, Request

__all__ = ["Failure", "FakeHTTPServer", "RecordedRequest"]


@dataclass(frozen=True, kw_only=True)
class RecordedRequest:
    """A request as it came, with the status it was answered with (None: it was not answered)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    content: bytes = field(repr=False)
    at: float
    status: int | None

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What happens to a request: it is answered with `status`, or (None) not at all after `hang_seconds`.

    `accepted`: the proxy does what the request asks for all the same.
    """

    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    accepted: bool
    hang_seconds: float = 0.0
    any_request: bool = False


class FakeHTTPServer(ThreadingHTTPServer):
    """Answers with `answer(request)`; adds each to `requests`; `failures` are used up by the next requests."""

    request_queue_size = 128
    # Joined when the server closes: every handler closes its socket itself.
    daemon_threads = False

    def __init__(
        self,
        port: int,
        answer: Callable[[Request], Answer],
        submit_path: str,
        requests: list[RecordedRequest],
    ) -> None:
        self.answer = answer
        self.submit_path = submit_path
        self.failures: deque[Failure] = deque()
        self.requests = requests
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="fake-proxy-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections; wait for the handlers."""
        self.stopping.set()
        self.shutdown()
        with self._lock:
            for connection in self._connections:
                _hang_up(connection)
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news; anything else is a fault of ours and is printed."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def failure_for(self, request: Request) -> Failure | None:
        with self._lock:
            if self.failures and (self.failures[0].any_request or self._is_submission(request)):
                return self.failures.popleft()
        return None

    def _is_submission(self, request: Request) -> bool:
        """Whether messages are submitted: a client submits none to see which API this is."""
        return request.path == self.submit_path and request.content.replace(b" ", b"") != b'{"messages":[]}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in one packet: two small ones would wait for each other's acknowledgement.
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: FakeHTTPServer

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            token=self.headers.get("X-API-Token"),
            content=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        at = time.time()
        failure = self.server.failure_for(request)
        answer: Answer | None = None
        if failure is None or failure.accepted:
            answer = self._answer(request)
        if failure is not None:
            answer = Answer(status=failure.status, body={"detail": "planned failure"}) if failure.status else None
        status = answer.status if answer else None
        self.server.requests.append(
            RecordedRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=dict(self.headers),
                content=request.content,
                at=at,
                status=status,
            )
        )
        if answer is None:
            self._lose_answer(failure.hang_seconds if failure else 0.0)
        else:
            self._send(answer, failure.headers if failure else {})

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def _answer(self, request: Request) -> Answer:
        try:
            return self.server.answer(request)
        except Crash:
            # As the real server does: the answer does not say so, but the connection is closed behind it.
            self.close_connection = True
            return Answer(status=500, body="Internal Server Error")

    def _lose_answer(self, hang_seconds: float) -> None:
        self.server.stopping.wait(hang_seconds)
        self.close_connection = True
        _hang_up(self.connection)

    def _send(self, answer: Answer, headers: dict[str, str]) -> None:
        is_text = isinstance(answer.body, str)
        content = answer.body.encode() if is_text else json.dumps(answer.body, separators=(",", ":")).encode()
        kind = "text/plain; charset=utf-8" if is_text else "application/json"
        self.send_response(answer.status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
