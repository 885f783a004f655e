"""An HTTP server that takes delivery reports and answers as it is told."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .waiting import PATIENCE_SECONDS

__all__ = ["ReportRequest", "ReportSink"]


@dataclass(frozen=True, kw_only=True)
class ReportRequest:
    """One call of the proxy."""

    path: str
    headers: dict[str, str]
    body: Any

    @property
    def reports(self) -> list[dict[str, Any]]:
        reports: list[dict[str, Any]] = self.body["delivery_report"]
        return reports


class ReportSink:
    """Keeps every request. It answers 200 `{"ok": true, "queued": 0}` unless `answer_next` says otherwise."""

    def __init__(self) -> None:
        self._requests: list[ReportRequest] = []
        self._answers: deque[tuple[int, bytes]] = deque()
        self._changed = threading.Condition()

    def __enter__(self) -> ReportSink:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[ReportRequest]:
        with self._changed:
            return list(self._requests)

    def answer_next(self, *answers: int | tuple[int, str]) -> None:
        """Answer the next requests with these statuses, or statuses and bodies."""
        with self._changed:
            for answer in answers:
                status, body = answer if isinstance(answer, tuple) else (answer, "{}")
                self._answers.append((status, body.encode()))

    def wait_for_reports(self, count: int, *, timeout_seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """Every report so far, as soon as there are `count`; those of refused requests are among them."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._reports()) >= count, timeout_seconds)
            reports = self._reports()
        if len(reports) < count:
            raise TimeoutError(f"{len(reports)} of {count} reports came within {timeout_seconds:g} s: {reports}")
        return reports

    def _reports(self) -> list[dict[str, Any]]:
        return [report for request in self._requests for report in request.reports]

    def _take(self, request: ReportRequest) -> tuple[int, bytes]:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            return self._answers.popleft() if self._answers else (200, b'{"ok": true, "queued": 0}')

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = take(ReportRequest(path=self.path, headers=dict(self.headers), body=body))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer)
                self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Print nothing."""

        return Handler
