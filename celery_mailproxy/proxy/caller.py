"""`ProxyCaller`: one proxy asked, over a pooled HTTP client, in the dialect that it speaks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import httpx

from ..conf.settings import ServerSettings
from ..errors import ProxyRequestError, ProxyUnavailable
from .answers import Answer, not_the_proxys, problem_of
from .api import Call, ProxyAPI, UnreadableAnswer, row
from .connection import Connection
from .dialect import Dialect
from .v1 import V1API

__all__ = ["ProxyCaller"]

_Read = TypeVar("_Read")


class ProxyCaller:
    """Sends calls to one proxy, and reads the answers. Safe to share between threads and greenlets."""

    def __init__(self, server: ServerSettings, *, transport: httpx.BaseTransport | None = None) -> None:
        self.server = server
        self._connection = Connection(server, transport=transport)
        self._dialect = Dialect(server, self._connection.send)
        self._clock_ahead = 0.0

    @property
    def api(self) -> ProxyAPI:
        """The dialect that the proxy speaks. Raises `ProxyUnavailable` where neither the settings nor it tell."""
        return self._dialect.found.api

    @property
    def base_path(self) -> str:
        """What goes before every path, beside the URL of the settings. Raises what `api` does."""
        return self._dialect.found.base_path

    def health(self) -> None:
        """Reach the proxy: `GET /health`, which needs no token."""
        call = Call(method="GET", path="/health")
        known = self._dialect.known
        answer = self._connection.send(_below(call, known.base_path if known else ""))
        if answer.status == 404 and known is None:
            # Where it is has not been found out yet.
            answer = self._connection.send(_below(call, V1API.base_path))
        self._read(answer, call, row)

    def close(self) -> None:
        """Close the pooled connections."""
        self._connection.close()

    def _ask(self, call: Call, read: Callable[[Any], _Read] = lambda body: body) -> _Read:
        """What `read` makes of the body of a 200."""
        return self._read(self._send(call), call, read)

    def _send(self, call: Call) -> Answer:
        found = self._dialect.found
        answer = self._connection.send(_below(found.api.encode(call), found.base_path))
        if answer.sent_at is not None:
            self._clock_ahead = answer.sent_at - time.time()
        return answer

    def time_there(self) -> float:
        """What time it is at the proxy, in unix seconds, by its last answer: exact to a second or two."""
        return time.time() + self._clock_ahead

    def _read(self, answer: Answer, call: Call, read: Callable[[Any], _Read]) -> _Read:
        what = f"{call.method} {call.path}"
        if answer.status != 200:
            raise self._problem(answer, what)
        try:
            return read(answer.body)
        except UnreadableAnswer as exc:
            raise not_the_proxys(answer, what, self.server.url) from exc

    def _problem(self, answer: Answer, what: str) -> ProxyRequestError | ProxyUnavailable:
        return problem_of(answer, what, self.server.url)


def _below(call: Call, base_path: str) -> Call:
    return replace(call, path=base_path + call.path) if base_path else call
