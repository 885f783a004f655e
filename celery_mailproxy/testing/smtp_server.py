"""The one file that imports aiosmtpd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

__all__ = ["start"]

_MAX_MAIL_BYTES = 64 * 1024 * 1024

#: Hanging up takes no time but that of a busy machine.
_HANG_UP_SECONDS = 60.0


class _Connection(SMTP):  # type: ignore[misc]
    """One client's connection, which says when it is lost."""

    on_lost: Callable[[SMTP], None]

    def connection_lost(self, error: Exception | None) -> None:
        try:
            super().connection_lost(error)
        finally:
            self.on_lost(self)


class _Controller(Controller):  # type: ignore[misc]
    """aiosmtpd's controller, which also hangs up on its clients when it stops: the proxies keep connections open."""

    def __init__(self, handler: Any, host: str, port: int) -> None:
        self._servers: set[SMTP] = set()
        super().__init__(handler, hostname=host, port=port)

    def factory(self) -> SMTP:
        server = _Connection(
            self.handler,
            hostname="sink.test",
            enable_SMTPUTF8=False,
            data_size_limit=_MAX_MAIL_BYTES,
            loop=self.loop,
        )
        server.on_lost = self._servers.discard
        # Kept until it is lost: a client that has only ended its own side is held by nobody else.
        self._servers.add(server)
        return server

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self.loop).result(_HANG_UP_SECONDS)
        super().stop(no_assert)

    async def _hang_up(self) -> None:
        # No new client from here on. The server itself is closed later: asyncio would forget, unclosed, a connection
        # that it has accepted by then and only makes the transport of in a later round of the loop.
        for listening in self.server.sockets if self.server is not None else ():
            self.loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # A transport is gone some rounds after its abort: its connection is lost then.
        while self._servers:
            for server in list(self._servers):
                if server.transport is not None:
                    server.transport.abort()
            await asyncio.sleep(0)


def start(handler: Any, host: str, port: int) -> Any:
    """A running controller; its `stop()` ends it."""
    controller = _Controller(handler, host, port)
    controller.start()
    return controller
