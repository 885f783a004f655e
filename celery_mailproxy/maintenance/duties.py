"""The duties of the maintenance, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..bounces.reader import read_bounces
from ..deliveries.report import utcnow
from ..dispatch.sweep import sweep
from ..outcomes.polling import poll
from ..outcomes.reconciling import reconcile
from ..runtime import Runtime
from ..tasks.results.stalled import move_on_stalled
from .relay import relay

__all__ = ["DUTIES", "POLLING", "POLL_SECONDS", "Duty", "GoOn"]

#: Says whether there is time for more: asked between pages, it also keeps the lease.
GoOn = Callable[[], bool]

#: How often the proxies are asked where they report on nothing: an outcome is to be known within 5 seconds.
POLL_SECONDS = 2.0

#: How much is done at once, before others get their turn.
_PRUNED_AT_ONCE = 500
_RESUMED_AT_ONCE = 1000
_SWEPT_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Something to be done again and again: by whoever leads, and without harm by two at once.

    It is due each round, or where `every_seconds` is more than a round, that long after it was last done. `do` returns
    how much there was to do. What it raises is logged, and it is done again at its next time.
    """

    name: str
    do: Callable[[Runtime, GoOn], int]
    every_seconds: float = 0.0


def _sweep(runtime: Runtime, go_on: GoOn) -> int:
    return sweep(runtime, now=utcnow(), limit=_SWEPT_AT_ONCE, go_on=go_on)


def _resume(runtime: Runtime, go_on: GoOn) -> int:
    lease_seconds = runtime.retention.lease_seconds
    moved = move_on_stalled(runtime, now=utcnow(), lease_seconds=lease_seconds, limit=_RESUMED_AT_ONCE, go_on=go_on)
    return sum(moved.values())


def _bounces(runtime: Runtime, go_on: GoOn) -> int:
    return read_bounces(runtime, go_on).reports if runtime.settings.bounce_mailbox else 0


def _outcomes(runtime: Runtime, go_on: GoOn) -> int:
    tally = reconcile(runtime, go_on)
    return 0 if tally is None else tally.looked_at


def _poll(runtime: Runtime, go_on: GoOn) -> int:
    return poll(runtime) if runtime.settings.reports == "poll" else 0


def _prune(runtime: Runtime, go_on: GoOn) -> int:
    number = 0
    while go_on():
        pruned = runtime.store.prune(limit=_PRUNED_AT_ONCE)
        number += pruned
        if pruned < _PRUNED_AT_ONCE:
            break
    return number


_POLL = Duty(name="poll", do=_poll)

DUTIES = (
    # What waits in the outbox is published again.
    Duty(name="outbox", do=relay),
    # Reports whose run is gone; a claim is silent for less than a minute before it is looked at.
    Duty(name="reports", do=_sweep),
    # Results that nobody moves on any more; a lease is ten minutes.
    Duty(name="results", do=_resume, every_seconds=60),
    # Mails that the proxy has not reported on.
    Duty(name="outcomes", do=_outcomes),
    # All that are open, where the proxy reports on none. For Celery beat: workers do it more often, see `POLLING`.
    _POLL,
    # What came back, where there is a mailbox for it: mailboxes do not like to be asked more often.
    Duty(name="bounces", do=_bounces, every_seconds=60),
    # What has expired is forgotten.
    Duty(name="prune", do=_prune, every_seconds=3600),
)

#: What has rounds of its own, so that nothing else holds it up.
POLLING = (_POLL,)
