"""`Connections`: how many connections a listener keeps, for how long, and which of them goes first.

A connection is a stranger's until a request on it has shown a token. A stranger gets a moment to send its request, and
where there is no room it makes way: what strangers hold open keeps nobody with a token waiting.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["MAX_CONNECTIONS", "Connection", "Connections", "connection_limit"]

logger = logging.getLogger(__name__)

#: More would make each turn of the loop slow.
MAX_CONNECTIONS = 2048

#: Fewer would not be worth the name, whatever the process may open.
_MIN_CONNECTIONS = 32

#: How long a stranger has for a whole request, and so how slowly one may be sent.
STRANGER_SECONDS = 10.0

#: How long the body of a request with a token may take: the proxy gives up its own after this time.
BODY_SECONDS = 300.0

#: How long a connection that has shown a token is kept for the next request.
IDLE_SECONDS = 120.0

#: Strangers fill no log: one line a minute says how many connections were closed.
_LOG_SECONDS = 60.0


class Connection(Protocol):
    """What the connections need of each of them."""

    @property
    def is_served(self) -> bool:
        """Whether a request of it is with the application now."""

    def drop(self) -> None:
        """Close it at once. `Connections.closed` is called in the course of this."""


class Connections:
    """The open connections of one listener, `limit` of them at most. Used by the listener's own thread alone."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        #: Until when each may stay without something happening.
        self._due: dict[Connection, float] = {}
        #: Those that have shown no token, the oldest first: a set with an order.
        self._strangers: dict[Connection, None] = {}
        self._dropped = 0
        self._log_at = 0.0

    def __len__(self) -> int:
        return len(self._due)

    @property
    def can_take_one(self) -> bool:
        """Whether there is room for one more, or somebody who can make way."""
        return len(self._due) < self.limit or bool(self._strangers)

    def opened(self, connection: Connection) -> None:
        """One more, which is a stranger's. Where there is no room, the stranger that was there first makes way."""
        if len(self._due) >= self.limit:
            self.make_room()
        self._due[connection] = self._clock() + STRANGER_SECONDS
        self._strangers[connection] = None

    def admitted(self, connection: Connection) -> None:
        """A request on it has shown a token, and its body may come."""
        if connection in self._due:
            self._strangers.pop(connection, None)
            self._due[connection] = self._clock() + BODY_SECONDS

    def closed(self, connection: Connection) -> None:
        self._due.pop(connection, None)
        self._strangers.pop(connection, None)

    def make_room(self) -> bool:
        """Drop the stranger that was there first and is not being answered; whether there was one."""
        oldest = next((each for each in self._strangers if not each.is_served), None)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def drop_late(self) -> None:
        """Drop those whose time is up. To be called once a second or so."""
        now = self._clock()
        for connection, due in list(self._due.items()):
            if connection.is_served:
                kept = STRANGER_SECONDS if connection in self._strangers else IDLE_SECONDS
                self._due[connection] = now + kept
            elif now > due:
                self._drop(connection)
        if self._dropped and now >= self._log_at:
            logger.warning(
                "%d connections without a whole request were closed; %d are open, of %d at most",
                self._dropped,
                len(self._due),
                self.limit,
            )
            self._dropped, self._log_at = 0, now + _LOG_SECONDS

    def _drop(self, connection: Connection) -> None:
        self._dropped += connection in self._strangers
        # It may have no way left to say that it is closed.
        self.closed(connection)
        connection.drop()


def connection_limit() -> int:
    """How many connections the process can afford: half of the files that it may open, `MAX_CONNECTIONS` at most.

    The other half is for the broker, the store, the pool's processes and large bodies, which lie in files.
    """
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows
        return MAX_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(_MIN_CONNECTIONS, min(MAX_CONNECTIONS, files // 2))
