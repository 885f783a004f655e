"""`Dialect`: which API one proxy speaks, found out when it is needed, remembered, and looked at again after a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..conf.settings import ServerSettings
from ..errors import ProxyUnavailable
from .answers import Answer
from .api import Call
from .detection import Found, detect, fixed

__all__ = ["Dialect"]

#: After how long the proxy is asked again: it may have been exchanged for one of another release.
_AGAIN_SECONDS = 300.0

#: How long it is not asked again that has answered without telling: each mail that waits would ask.
_UNTOLD_SECONDS = 5.0


class Dialect:
    """What the settings say, or else the proxy. Safe to share between threads.

    Without a lock: nobody waits for another's call, and of two who ask at once both learn the same.
    """

    def __init__(self, server: ServerSettings, send: Callable[[Call], Answer]) -> None:
        self._server = server
        self._send = send
        self._fixed = fixed(server)
        self._found: Found | None = None
        self._asked_at = 0.0
        self._trouble: tuple[float, ProxyUnavailable] | None = None

    @property
    def found(self) -> Found:
        """The API and its place. Raises `ProxyUnavailable` where the proxy does not tell, or did not just now."""
        if self._fixed is not None:
            return self._fixed
        found = self._found
        if found is not None and time.monotonic() - self._asked_at < _AGAIN_SECONDS:
            return found
        try:
            return self._ask()
        except ProxyUnavailable:
            if found is None:
                raise
            # In trouble just now, it is what it was.
            self._asked_at = time.monotonic()
            return found

    @property
    def known(self) -> Found | None:
        """What was found so far, without asking."""
        return self._fixed or self._found

    def forget(self) -> bool:
        """Ask anew, as the proxy no longer knows a path that it had. False where the settings decide."""
        self._found = None
        return self._fixed is None

    def _ask(self) -> Found:
        if self._trouble is not None:
            told_at, problem = self._trouble
            if time.monotonic() - told_at < _UNTOLD_SECONDS:
                raise _copy(problem)
        try:
            found = detect(self._server, self._send)
        except ProxyUnavailable as exc:
            # Who cannot be reached is asked again at once.
            self._trouble = None if exc.status is None else (time.monotonic(), exc)
            exc.maybe_accepted = False
            raise
        self._trouble, self._asked_at, self._found = None, time.monotonic(), found
        return found


def _copy(problem: ProxyUnavailable) -> ProxyUnavailable:
    """Not the same error twice: each who raises one may write into it, and keeps its traceback."""
    return ProxyUnavailable(
        problem.problem,
        status=problem.status,
        retry_after_seconds=problem.retry_after_seconds,
        maybe_accepted=False,
        remedy=problem.remedy,
    )
