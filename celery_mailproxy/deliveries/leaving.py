"""Whether a run may be submitting a mail just now, and whether the mail is withdrawn: pure functions, for every store.

Before it submits, a run notes in the store that it begins (`begun`); whoever withdraws the mail notes that there, too
(`withdrawn`). One of them comes first. A run that comes second finds the mail withdrawn, and does not submit it.
Whoever withdraws second finds that a run has begun, and promises nothing. What surely did not reach the proxy, its run
takes back (`taken_back`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from .delivery import Delivery

__all__ = [
    "UNCLEAR",
    "begun",
    "is_tombstone",
    "leaving_of",
    "new_run",
    "taken_back",
    "tombstone",
    "with_leaving",
    "withdrawn",
]

#: In place of a run: another began while an earlier one had not taken its mail back. Nobody takes this back.
UNCLEAR = "?"

_WITHDRAWN = "!"


def new_run() -> str:
    """What a run calls itself: hexadecimal digits, for a script in Redis looks for them."""
    return uuid4().hex[:8]


def begun(delivery: Delivery, run: str) -> Delivery:
    """The delivery once a run has begun to submit it; as it was where it is withdrawn, or no run is named."""
    if not run or delivery.is_withdrawn or delivery.run == run:
        return delivery
    return replace(delivery, run=UNCLEAR if delivery.run else run)


def taken_back(delivery: Delivery, run: str) -> Delivery:
    """The delivery after a run that surely did not bring it to the proxy, if no other run has begun."""
    return replace(delivery, run="") if delivery.run == run else delivery


def withdrawn(delivery: Delivery) -> Delivery:
    """The delivery, not to be submitted any more by a run that begins from now on."""
    return delivery if delivery.is_withdrawn else replace(delivery, is_withdrawn=True)


def tombstone(message_id: str, *, now: datetime) -> Delivery:
    """A delivery for a mail that nobody has registered yet: it keeps the mail from being submitted."""
    return Delivery(message_id=message_id, created_at=now, updated_at=now, is_known=False, is_withdrawn=True)


def is_tombstone(delivery: Delivery) -> bool:
    """Whether nothing is known of the mail but that it is withdrawn. Whoever begins one names its task."""
    is_bare = not delivery.is_known and delivery.task_id is None and delivery.suspension is None
    return is_bare and delivery.is_withdrawn and not delivery.history


def leaving_of(delivery: Delivery) -> str:
    """Both as one short text, empty for most; see `with_leaving`."""
    return f"{_WITHDRAWN if delivery.is_withdrawn else ''}{delivery.run}"


def with_leaving(text: str) -> tuple[bool, str]:
    """`is_withdrawn` and `run` of such a text."""
    return text.startswith(_WITHDRAWN), text.removeprefix(_WITHDRAWN)
