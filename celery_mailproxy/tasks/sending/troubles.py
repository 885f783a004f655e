"""`Troubles`: why mails wait for a proxy, for whoever looks after it: the log, `check`, and a metric.

What is kept stands in the store, by proxy, so every process of an installation sees the same. It is for people, and
holds no mail up: where the store fails, each process knows its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace

from ...deliveries.stores.base import DeliveryStore
from ...errors import ProxyUnavailable, redact
from ...proxy.api import SubmitAnswer
from ...runtime import Runtime

__all__ = ["Trouble", "Troubles", "trouble_of", "troubles_of"]

logger = logging.getLogger(__name__)

#: How often the log says that mails wait, whatever their number.
_LOG_SECONDS = 60.0

#: How often one process looks into the store, and writes there.
_WRITE_SECONDS = 5.0
_LOOK_SECONDS = 60.0

#: A mail comes again within an hour, whatever `Retry-After` says: a trouble of which no more is seen has passed.
_FORGET_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why mails wait for a proxy, in unix seconds: `since` when, and when last one had to (`at`).

    `mails` is how many had to in the last minute that was logged, `counted` how many since `logged_at`. `remedy` is
    None where it passes by itself.
    """

    problem: str
    remedy: str | None
    since: float
    at: float
    mails: int = 0
    counted: int = 0
    logged_at: float = 0.0

    @classmethod
    def load(cls, text: str | None) -> Trouble | None:
        """What `dump` has written; None where it is something else."""
        try:
            return None if text is None else cls(**json.loads(text))
        except (TypeError, ValueError):
            return None

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @property
    def number(self) -> int:
        """How many mails were put off within a minute or so. More may wait: pauses grow to ten minutes."""
        return max(self.mails, self.counted)

    @property
    def waiting(self) -> str:
        return "1 email waits" if self.number == 1 else f"{self.number} emails wait"

    @property
    def explained(self) -> str:
        return f"{self.problem}. {self.remedy or 'They are tried again by themselves.'}"

    def is_current(self, now: float, forget_seconds: float = _FORGET_SECONDS) -> bool:
        """Whether it has been seen lately."""
        return now - self.at < forget_seconds


@dataclass(slots=True)
class _Own:
    """What one process has seen of one proxy: `ids` since the log last said so, `pending` of them not yet noted."""

    ids: set[str] = field(default_factory=set)
    pending: int = 0
    written_at: float = 0.0
    looked_at: float = 0.0
    last: Trouble | None = None


class Troubles:
    """Keeps what mails wait for. Never raises. Safe to share between threads."""

    def __init__(self, store: DeliveryStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._own: dict[str, _Own] = {}

    def note(self, server: str, answer: SubmitAnswer) -> None:
        """Note how a submission to that proxy went."""
        waiting = {each: error for each, error in answer.unsettled.items() if isinstance(error, ProxyUnavailable)}
        if not waiting and not answer.accepted and not answer.rejected:
            return
        now = self._clock()
        # The store is asked without the lock: nobody waits for another's note.
        with self._lock:
            own = self._own.setdefault(server, _Own())
            number = self._begin(own, waiting, now)
        if number is None:
            return
        if not waiting:
            self._forget(server, own)
            return
        # What somebody has to fix is said before what passes by itself.
        error = max(waiting.values(), key=lambda each: each.remedy is not None)
        self._keep(server, own, error, number, now)

    @staticmethod
    def _begin(own: _Own, waiting: Collection[str], now: float) -> int | None:
        """How many mails are to be noted now; None where nothing is."""
        if not waiting:
            if own.last is None and now - own.looked_at < _LOOK_SECONDS:
                return None
            own.looked_at = now
            return 0
        # A mail that comes again within the minute is one mail.
        own.pending += len(set(waiting) - own.ids)
        own.ids.update(waiting)
        if now - own.written_at < _WRITE_SECONDS:
            return None
        own.written_at = now
        number, own.pending = own.pending, 0
        return number

    def _keep(self, server: str, own: _Own, error: ProxyUnavailable, number: int, now: float) -> None:
        known = self._read(server) or own.last
        if known is None or not known.is_current(now):
            known = Trouble(problem="", remedy=None, since=now, at=now)
        trouble = replace(
            known, problem=redact(error.problem), remedy=error.remedy, at=now, counted=known.counted + number
        )
        if now - trouble.logged_at >= _LOG_SECONDS:
            trouble = replace(trouble, mails=trouble.counted, counted=0, logged_at=now)
            level = logging.WARNING if trouble.remedy is None else logging.ERROR
            logger.log(level, "%s for the proxy %r: %s", trouble.waiting, server, trouble.explained)
        if own.last is None or trouble.logged_at != own.last.logged_at:
            own.ids.clear()
        own.last = trouble
        self._write(server, trouble)

    def _forget(self, server: str, own: _Own) -> None:
        """The proxy takes mails. That it did not another process may have noted, which has died since."""
        is_noted = own.last is not None or self._read(server) is not None
        own.ids.clear()
        own.last, own.written_at, own.pending = None, 0.0, 0
        if is_noted:
            logger.warning("the proxy %r takes emails again", server)
            self._write(server, None)

    def _read(self, server: str) -> Trouble | None:
        try:
            return Trouble.load(self._store.get_value(_name(server)))
        except Exception as exc:
            logger.warning("why emails wait cannot be read: %s", type(exc).__name__)
            return None

    def _write(self, server: str, trouble: Trouble | None) -> None:
        try:
            self._store.set_value(_name(server), None if trouble is None else trouble.dump())
        except Exception as exc:
            logger.warning("why emails wait cannot be written: %s", type(exc).__name__)


def _name(server: str) -> str:
    """The name under which the store keeps the trouble with a proxy."""
    return f"trouble/{server}"


def trouble_of(runtime: Runtime, server: str) -> Trouble | None:
    """Why mails wait for that proxy; None where none does, as far as is known. Raises `StoreError`."""
    trouble = Trouble.load(runtime.store.get_value(_name(server)))
    forget_seconds = max(_FORGET_SECONDS, 2.0 * runtime.settings.retry_max_seconds)
    return trouble if trouble is not None and trouble.is_current(time.time(), forget_seconds) else None


def troubles_of(runtime: Runtime) -> Troubles:
    """The app's troubles in this process."""
    return runtime.part(_build)


def _build(runtime: Runtime) -> Troubles:
    return Troubles(runtime.store)
