"""The suspended result of a message: where a task stands that waits for its mail. Pure functions, shared by the stores.

    new --submitted--> waiting --end reported--> reported --published--> published --claim--> running --finish--> done
     |                                                                                          ^
     +--end reported--> early --submitted (the submitting task takes it itself) ----------------+

What is silent for longer than a lease is restarted: published again, from wherever it stands.
`done` is a tombstone: it keeps a late redelivery from sending or ending anything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

__all__ = [
    "IDLE",
    "LEASED",
    "NEW_PATIENCE",
    "ON_END",
    "STALE_ONLY",
    "STEPS",
    "Step",
    "Suspension",
    "SuspensionState",
    "advance",
    "end_reported",
    "silent_since",
]


class SuspensionState(str, Enum):
    """Where a suspended result stands."""

    NEW = "new"  #: reserved; the proxy has not confirmed the message
    WAITING = "waiting"  #: the proxy has the message; nothing runs
    EARLY = "early"  #: the end was reported before the submitting task had finished; it takes the outcome itself
    REPORTED = "reported"  #: the end was reported; the task's message must be published again
    PUBLISHED = "published"  #: it has been
    RUNNING = "running"  #: the resumed task runs, under a token
    DONE = "done"  #: its result is stored

    def __str__(self) -> str:
        return self.value


class Step(str, Enum):
    """What moves a suspended result on, beside the report of the end."""

    SUBMITTED = "submitted"  #: the submitting task has finished; its token is the task's id
    RENEW = "renew"  #: the submitting task runs once more (a retry, a redelivery)
    PUBLISHED = "published"  #: the dispatcher has published the message again
    CLAIM = "claim"  #: a resumed task begins, with the token of its message
    FINISH = "finish"  #: the result is stored
    WRITE = "write"  #: a state in between (DEFERRED) is about to be written
    WRITTEN = "written"  #: and has been
    RESTART = "restart"  #: nothing has moved for a lease; the message is about to be published again

    def __str__(self) -> str:
        return self.value


_S = SuspensionState

#: step → state before → state after. What is missing is refused.
STEPS: Mapping[Step, Mapping[SuspensionState, SuspensionState]] = {
    Step.SUBMITTED: {_S.NEW: _S.WAITING, _S.EARLY: _S.RUNNING},
    Step.RENEW: {_S.NEW: _S.NEW},
    Step.PUBLISHED: {_S.REPORTED: _S.PUBLISHED},
    Step.CLAIM: {_S.REPORTED: _S.RUNNING, _S.PUBLISHED: _S.RUNNING, _S.EARLY: _S.RUNNING, _S.RUNNING: _S.RUNNING},
    Step.FINISH: {_S.RUNNING: _S.DONE},
    # A state written later than this could land on top of the final one.
    Step.WRITE: {_S.NEW: _S.NEW, _S.WAITING: _S.WAITING},
    Step.WRITTEN: {state: state for state in _S},
    Step.RESTART: {
        _S.NEW: _S.NEW,
        _S.EARLY: _S.PUBLISHED,
        _S.REPORTED: _S.PUBLISHED,
        _S.PUBLISHED: _S.PUBLISHED,
        _S.RUNNING: _S.PUBLISHED,
    },
}

#: state before → state after the end of the message has been reported.
ON_END: Mapping[SuspensionState, SuspensionState] = {_S.NEW: _S.EARLY, _S.WAITING: _S.REPORTED}

#: States in which nothing is expected to happen soon.
IDLE = frozenset({_S.WAITING, _S.DONE})

#: How much longer than any other a result in `new` may be silent. Its task is not lost while its retry waits in the
#: broker: for 10 minutes at most, or as long as a Retry-After says. And a broker gives the task of a dead worker back
#: by itself, Redis only after its visibility timeout of an hour. Only what is silent for longer than both can be a
#: worker that was lost with an early acknowledgement.
NEW_PATIENCE = timedelta(hours=2)

#: Steps that in `running` need the token that runs: only one of several copies of a message goes on. A claim may take
#: over from a token that has been silent for the length of a lease.
LEASED = frozenset({Step.CLAIM, Step.FINISH})

#: Steps that are refused until nothing has moved for the length of a lease: of several who try, one takes them.
STALE_ONLY = frozenset({Step.RESTART})


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A suspended result.

    `owner` is the task's id. `message` is what publishes the task's message again (see `dispatch.resumer`); it is
    dropped when done. `token` is who runs; `since` the time of the last step; `writers` how many write a state now.
    """

    state: SuspensionState = SuspensionState.NEW
    owner: str
    since: datetime
    message: str | None = field(default=None, repr=False)
    token: str | None = None
    writers: int = 0


def silent_since(suspension: Suspension | None) -> datetime | None:
    """From when on the silence of a suspended result counts; None where nothing is expected to happen soon.

    A store lists those of which it counts for long (see `DeliveryStore.stalled`).
    """
    if suspension is None or suspension.state in IDLE:
        return None
    return suspension.since + NEW_PATIENCE if suspension.state is _S.NEW else suspension.since


def end_reported(suspension: Suspension, *, now: datetime) -> Suspension:
    """The suspension after the end of its message has been reported."""
    state = ON_END.get(suspension.state)
    return suspension if state is None else replace(suspension, state=state, since=now)


def advance(
    suspension: Suspension, step: Step, *, token: str | None, now: datetime, lease_seconds: float
) -> Suspension | None:
    """The suspension after the step, or None where the step is refused."""
    state = STEPS[step].get(suspension.state)
    if state is None:
        return None
    is_silent = (now - suspension.since).total_seconds() > lease_seconds
    if step in STALE_ONLY and not is_silent:
        return None
    is_held = step in LEASED and suspension.state is _S.RUNNING and suspension.token != token
    if is_held and (step is Step.FINISH or not is_silent):
        return None
    if step in (Step.WRITE, Step.WRITTEN):
        change = 1 if step is Step.WRITE else -1
        return replace(suspension, writers=max(0, suspension.writers + change), since=now)
    if state is _S.DONE:
        return replace(suspension, state=state, since=now, message=None, token=None, writers=0)
    return replace(suspension, state=state, since=now, token=token if state is _S.RUNNING else None)
