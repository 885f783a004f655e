"""`Breaker`: keeps mails from a proxy that cannot be reached, and lets one at a time try whether it can be again.

closed → (so many failures in a row) → open → (so many seconds) → half-open → closed, or open again

Its state stands in the store, so all workers of a proxy see the same one, and so does `celery mailproxy migration`;
what each process keeps for itself is how many failures in a row it has met. Two processes may write at once: the last
one wins, and the worst that comes of it is one trial more.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from ..conf.settings import MigrationSettings
from ..deliveries.stores.base import DeliveryStore
from ..dispatch.counters import Counters, counters_of
from ..dispatch.events import events_of
from ..errors import StoreError
from ..runtime import Runtime

__all__ = ["Breaker", "BreakerState", "breaker_value", "get_breaker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """`since` and `until` in unix seconds: no mail tries before `until`."""

    name: Literal["closed", "open", "half-open"] = "closed"
    since: float = 0.0
    until: float = 0.0

    @classmethod
    def load(cls, text: str | None) -> BreakerState:
        return cls() if text is None else cls(**json.loads(text))

    def dump(self) -> str:
        return json.dumps(asdict(self))


class Breaker:
    """The breaker of one proxy. Never raises: without the store each process uses what it has seen itself."""

    #: How long a process uses the state that it has read.
    state_seconds: ClassVar[float] = 1.0

    def __init__(
        self,
        server: str,
        *,
        store: DeliveryStore,
        failures: int,
        seconds: float,
        counters: Counters,
        emit: Callable[[str, Mapping[str, Any]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._server = server
        self._store = store
        self._limit = failures
        self._seconds = seconds
        self._counters = counters
        self._emit = emit
        self._clock = clock
        self._failures = 0
        self._state = BreakerState()
        self._read_at: float | None = None

    def allows(self) -> bool:
        """Whether a mail may try the proxy now. Whoever may must say how it went."""
        state = self._read()
        if state.name == "closed":
            return True
        if self._clock() < state.until:
            return False
        # Written before the trial: the others are to wait for how it goes.
        self._change("half-open", problem="")
        return True

    def succeeded(self) -> None:
        """The proxy has answered as it should."""
        self._failures = 0
        if self._state.name != "closed":
            self._change("closed", problem="")

    def failed(self, problem: str) -> None:
        """The proxy could not be reached, or would not have us. `problem` is for the log."""
        self._failures += 1
        is_trial = self._state.name == "half-open"
        if is_trial or (self._state.name == "closed" and self._failures >= self._limit):
            self._change("open", problem=problem)

    @property
    def state(self) -> BreakerState:
        """How it stands in the store."""
        self._read_at = None
        return self._read()

    def _read(self) -> BreakerState:
        now = self._clock()
        if self._read_at is None or now - self._read_at >= self.state_seconds:
            self._read_at = now
            try:
                self._state = BreakerState.load(self._store.get_value(breaker_value(self._server)))
            except StoreError as exc:
                logger.warning("the breaker's state cannot be read: %s", exc)
        return self._state

    def _change(self, name: Literal["closed", "open", "half-open"], *, problem: str) -> None:
        now = self._clock()
        until = 0.0 if name == "closed" else now + self._seconds
        self._state = BreakerState(name=name, since=now, until=until)
        try:
            self._store.set_value(breaker_value(self._server), self._state.dump())
        except StoreError as exc:
            logger.warning("the breaker's state cannot be written: %s", exc)
        self._notify(name, problem)

    def _notify(self, name: str, problem: str) -> None:
        what = {"open": "opened", "closed": "closed", "half-open": "probed"}[name]
        if name == "open":
            text = "the proxy %r is not tried for %g s, its emails are sent through the legacy transport: %s"
            logger.error(text, self._server, self._seconds, problem)
        else:
            text = (
                "the proxy %r is tried with one email" if name == "half-open" else "the proxy %r can be reached again"
            )
            logger.warning(text, self._server)
        self._counters.note(f"breaker/{what}")
        self._emit(f"mail-breaker-{what}", {"server": self._server})


def breaker_value(server: str) -> str:
    """The name under which the store keeps the state of a proxy's breaker."""
    return f"migration.breaker/{server}"


def get_breaker(runtime: Runtime, server: str) -> Breaker:
    """The breaker of that proxy in this process."""
    breakers = runtime.part(_no_breakers)
    if server not in breakers:
        settings = runtime.settings.migration or MigrationSettings()
        breakers[server] = Breaker(
            server,
            store=runtime.store,
            failures=settings.breaker_failures,
            seconds=settings.breaker_seconds,
            counters=counters_of(runtime),
            emit=events_of(runtime).emit,
        )
    return breakers[server]


def _no_breakers(runtime: Runtime) -> dict[str, Breaker]:
    return {}
