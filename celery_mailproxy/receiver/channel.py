"""What we add to waitress's handling of one connection: a request can be refused before its body has been read."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from http import HTTPStatus
from io import BytesIO
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask
from waitress.utilities import RequestEntityTooLarge
from waitress.utilities import logger as waitress_logger

from ..errors import visible
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


class _Nowhere:
    """A buffer for a body that is refused: nothing of it is kept."""

    def __len__(self) -> int:
        return 0

    def append(self, data: bytes) -> None:
        """Forget the data."""

    def getfile(self) -> BytesIO:
        return BytesIO()

    def close(self) -> None:
        """There is nothing to close."""


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Asks the receiver about a request with a body once its head is there, and keeps nothing of a refused one."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel.adj)
        self._channel = channel
        #: What the receiver says to the head of a request with a body.
        self.admitted: Admission | Response | None = None

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.headers_finished and self.body_rcv is not None and self._is_well_formed:
            if self.admitted is None:
                self._judge()
            if (refusal := self._refusal()) is not None:
                self._refuse(refusal)
        if self.error is not None:
            # Else waitress would ask for the body after all, and read it.
            self.expect_continue = False
            self._channel.is_refused = True
        return consumed

    @property
    def _is_well_formed(self) -> bool:
        # Of a body that waitress calls too large the receiver has its own opinion.
        return self.error is None or isinstance(self.error, RequestEntityTooLarge)

    def _judge(self) -> None:
        with fork_gate.busy():
            self.admitted = self._channel.server.receiver.admit(self._head())
        if isinstance(self.admitted, Response):
            self.body_rcv.getbuf().close()
            self.body_rcv.buf = _Nowhere()
        elif self.admitted.route != "health":
            self._channel.server.connections.admitted(self._channel)

    def _refusal(self) -> Response | None:
        """The answer to a request of which no more shall be read."""
        if isinstance(self.admitted, Response):
            size = max(self.content_length, self.body_bytes_received)
            return self.admitted if size > PATIENCE_BYTES or self.expect_continue else None
        # The buffer holds the chunks' content: what waitress itself counts includes their framing.
        size = max(self.content_length, len(self.body_rcv))
        receiver: ReportReceiver = self._channel.server.receiver
        admission = self.admitted
        return receiver.refuse_body(admission) if admission is not None and size > admission.body_limit else None

    def _refuse(self, refusal: Response) -> None:
        self.error = _Refusal(refusal)
        self.completed = True

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
    """Hands the application what the receiver has said to the parser, so that nothing is judged twice."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        if self.request.admitted is not None:
            environ[ADMISSION_KEY] = self.request.admitted
        return environ


class _OneLine(logging.LoggerAdapter):  # type: ignore[type-arg]
    """waitress logs a request's path decoded: a stranger's line break would begin a line of the log."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return visible(str(msg)), kwargs


class Channel(HTTPChannel):  # type: ignore[misc]
    """After an early refusal it lingers: it goes on reading for a moment, and throws away what comes.

    A connection closed over unread data is reset, and the client may never see the answer (RFC 9112, 9.6).
    """

    task_class = _Task
    logger = _OneLine(waitress_logger, {})
    is_refused = False
    _linger_until: float | None = None

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:
        super().__init__(server, sock, addr, adj, map=map)
        server.connections.opened(self)

    @property
    def is_served(self) -> bool:
        return bool(self.requests)

    def drop(self) -> None:
        """Close the connection, and linger no more."""
        super().handle_close()

    def del_channel(self, map: Any = None) -> None:
        self.server.connections.closed(self)
        super().del_channel(map)

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
