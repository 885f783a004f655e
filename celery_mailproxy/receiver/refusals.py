"""`RefusalLog`: says that requests without a valid token come in, and no stranger fills the log by it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..errors import visible

__all__ = ["RefusalLog"]

logger = logging.getLogger(__name__)

#: How often there is a line, whoever sends whatever.
_LOG_SECONDS = 60.0


class RefusalLog:
    """Logs the first refused request at once, and those of the next minute together with the one after it."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._logged_at = -_LOG_SECONDS
        self._unlogged = 0

    def note(self, given: str, client: str | None) -> None:
        """A request was refused that came with `given` (`no token`, `a wrong token`) from that address."""
        with self._lock:
            now = self._monotonic()
            if now - self._logged_at < _LOG_SECONDS:
                self._unlogged += 1
                return
            others, self._unlogged, self._logged_at = self._unlogged, 0, now
        more = f", and {others} more since the last such line" if others else ""
        logger.warning("refused a request with %s from %s%s", given, visible(client or "an unknown address"), more)
