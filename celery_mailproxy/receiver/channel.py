"""What we add to waitress's handling of one connection: a request can be refused before its body has been read."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

from .fork_gate import ForkGate
from .receiver import Admission, ReportReceiver, Request, Response
from .wsgi import ADMISSION_KEY

__all__ = ["PATIENCE_BYTES", "Channel", "fork_gate"]

#: A body of up to this size is read even if it is refused: the client then surely sees the answer, and can go on.
PATIENCE_BYTES = 64 * 1024

#: How long what comes after a refusal is thrown away.
_LINGER_SECONDS = 2.0

#: Keeps this process's forks and its threads that answer requests apart.
fork_gate = ForkGate()


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Lets the receiver refuse a large request before its body is read."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel.adj)
        self._channel = channel
        #: Of a large body, which is judged before all of it has come.
        self.admission: Admission | None = None

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.headers_finished and not self.completed:
            # The buffer holds the chunks' content: what waitress itself counts includes their framing.
            size = max(self.content_length, len(self.body_rcv))
            if size > PATIENCE_BYTES and (refusal := self._refusal(size)) is not None:
                self._refuse(refusal)
        return consumed

    def _refusal(self, size: int) -> Response | None:
        receiver: ReportReceiver = self._channel.server.receiver
        with fork_gate.busy():
            if self.admission is None:
                admitted = receiver.admit(self._head())
                if isinstance(admitted, Response):
                    return admitted
                self.admission = admitted
            return receiver.refuse_body(self.admission) if size > self.admission.body_limit else None

    def _refuse(self, refusal: Response) -> None:
        self.error = _Refusal(refusal)
        self.completed = True
        # Else waitress would ask for the body after all.
        self.expect_continue = False
        self._channel.is_refused = True

    def _head(self) -> Request:
        return Request(
            method=self.command.upper(),
            path=self.path.encode("latin-1").decode("utf-8", "replace"),
            headers={name.replace("_", "-").lower(): value for name, value in self.headers.items()},
            client=self._channel.addr[0],
        )


class _Refusal:
    """What waitress calls an error: something with an HTTP response."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        status = f"{self._response.status} {HTTPStatus(self._response.status).phrase}"
        return status, list(self._response.headers), self._response.body


class _Task(WSGITask):  # type: ignore[misc]
    """Hands the application the admission that the parser has got, so that nothing is judged twice."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if self.request.admission is not None:
            environ[ADMISSION_KEY] = self.request.admission
        return environ


class Channel(HTTPChannel):  # type: ignore[misc]
    """After an early refusal it lingers: it goes on reading for a moment, and throws away what comes.

    A connection closed over unread data is reset, and the client may never see the answer (RFC 9112, 9.6).
    """

    task_class = _Task
    is_refused = False
    _linger_until: float | None = None

    def parser_class(self, adj: Any) -> _Parser:
        return _Parser(self)

    def handle_close(self) -> None:
        if not self.is_refused or self._linger_until is not None or not self.connected:
            super().handle_close()
            return
        self.will_close = False
        self._linger_until = time.monotonic() + _LINGER_SECONDS
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def readable(self) -> bool:
        return self._linger_until is not None or bool(super().readable())

    def writable(self) -> bool:
        if self._linger_until is not None:
            return time.monotonic() > self._linger_until
        return bool(super().writable())

    def handle_write(self) -> None:
        if self._linger_until is not None:
            self.handle_close()
        else:
            super().handle_write()

    def handle_read(self) -> None:
        if self._linger_until is None:
            super().handle_read()
        elif not self.recv(PATIENCE_BYTES):
            self.handle_close()
