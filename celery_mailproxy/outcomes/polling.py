"""`Poller`: asks the proxies for all open mails, again and again, where they do not report by themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ..deliveries.report import utcnow
from ..deliveries.stores.base import DeliveryStore
from ..dispatch.recorder import OutcomeRecorder, recorder_of
from ..errors import ProxyUnavailable
from ..runtime import Runtime
from .asking import Asker

__all__ = ["Poller", "poll"]

#: As many open mails are asked for at once. Of more, those that have waited longest: the others follow as these end.
_LIMIT = 20_000

#: What is due by then is all that is awaited.
_FAR = timedelta(days=36_500)


class Poller:
    """Asks for every mail that is awaited: one list of each tenant tells of all that have ended."""

    def __init__(
        self,
        *,
        store: DeliveryStore,
        asker: Asker,
        recorder: OutcomeRecorder,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._store = store
        self._asker = asker
        self._recorder = recorder
        self._clock = clock

    def poll(self) -> int:
        """Record the ends that the proxies know; how many.

        What they do not know is left to `Reconciler`. Raises `ProxyUnavailable` where a proxy could not be asked, once
        what the others say is recorded; `StoreError`, and kombu's `OperationalError`.
        """
        now = self._clock()
        asked = self._asker.ask(self._store.due(now=now + _FAR, limit=_LIMIT), are_pending=True)
        ends = [end for each in asked if each.held is not None and (end := each.held.report(now=now)) is not None]
        news = self._recorder.record(ends)
        problem = next((each.problem for each in asked if each.problem is not None and not each.is_hopeless), None)
        if problem is not None:
            raise ProxyUnavailable(problem)
        return len(news)


def poll(runtime: Runtime) -> int:
    """See `Poller.poll`."""
    return runtime.part(_build).poll()


def _build(runtime: Runtime) -> Poller:
    return Poller(store=runtime.store, asker=Asker(runtime.client), recorder=recorder_of(runtime))
