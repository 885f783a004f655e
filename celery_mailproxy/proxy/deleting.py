"""`delete_waiting`: messages taken out of the proxy's queue, and what is proven of each.

The proxy says that it has deleted a message also where it is sending it. It reads due messages by the dozen, and sends
them one after another; until then the row of such a message is that of any other that is due. So one that is due and
deleted may have been sent, and no report of it comes. One whose time has not come is in nobody's hands: what is deleted
before that moment is never sent. (Read in the source of 0.5.0 to 0.7.0, and seen on running servers.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

from ..errors import ProxyUnavailable
from .client import ProxyClient
from .held import HeldMessage, HeldState

__all__ = ["Deletion", "delete_waiting"]

#: How long before its time a message has to be gone: an HTTP date counts in seconds, and the answer was under way.
_MARGIN_SECONDS = 5.0

#: How often it is looked whether one that is due has gone its way.
_LOOK_SECONDS = 0.2

#: How many are deleted with one call.
_AT_ONCE = 500


class Deletion(str, Enum):
    """What became of a message that was to be deleted."""

    DELETED = "deleted"  #: it is gone, and was never sent
    MAYBE_SENT = "maybe sent"  #: it is gone, and may have been sent; no report will say so
    KEPT = "kept"  #: it is there still: the proxy did not delete it
    SENT = "sent"  #: it was sent before
    ENDED = "ended"  #: the proxy had given it up, or refused it
    ABSENT = "absent"  #: the proxy does not have it
    UNSAID = "unsaid"  #: the proxy does not say so


def delete_waiting(
    client: ProxyClient,
    tenant_id: str,
    ids: Sequence[str],
    *,
    patience_seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Deletion]:
    """Delete those of a tenant's messages that are yet to be sent; what became of each.

    One that is due is mostly sent in the next moment: for so long it is waited for what becomes of it. Raises
    `ProxyUnavailable` and `ProxyRequestError` where the proxy says nothing of any of them.
    """
    deadline = monotonic() + patience_seconds
    found, unsaid = client.find_each(tenant_id, ids)
    while (due := _due(client, found.values())) and monotonic() < deadline:
        sleep(_LOOK_SECONDS)
        again, unsaid_again = client.find_each(tenant_id, due)
        found = {each: held for each, held in found.items() if each not in due} | again
        unsaid = {**unsaid, **unsaid_again}
    fates = dict.fromkeys(unsaid, Deletion.UNSAID)
    fates |= {each: _ENDS[held.state] for each, held in found.items() if held.state is not HeldState.PENDING}
    pending = {each: held for each, held in found.items() if held.state is HeldState.PENDING}
    # Apart: what is said of a call is said of all its messages.
    waiting = [each for each in pending if each not in due]
    for part in (*_parts(waiting), *_parts(due)):
        fates |= _delete(client, tenant_id, {each: pending[each] for each in part})
    return {each: fates.get(each, Deletion.ABSENT) for each in ids}


_ENDS: Mapping[HeldState, Deletion] = {HeldState.SENT: Deletion.SENT, HeldState.ERROR: Deletion.ENDED}


def _delete(client: ProxyClient, tenant_id: str, messages: Mapping[str, HeldMessage]) -> dict[str, Deletion]:
    ids = list(messages)
    try:
        answer = client.delete_messages(tenant_id, ids)
    except ProxyUnavailable:
        # They may be gone by now, or go yet.
        return dict.fromkeys(ids, Deletion.UNSAID)
    removed = answer.get("removed") if isinstance(answer, Mapping) else None
    is_early = not _due(client, messages.values())
    if removed == len(ids):
        return dict.fromkeys(ids, Deletion.DELETED if is_early else Deletion.MAYBE_SENT)
    try:
        left, unsaid = client.find_each(tenant_id, ids)
    except ProxyUnavailable:
        return dict.fromkeys(ids, Deletion.UNSAID)
    # Whoever deleted the others may have done so at any time.
    fates = dict.fromkeys(ids, Deletion.MAYBE_SENT) | dict.fromkeys(unsaid, Deletion.UNSAID)
    return fates | {each: _ENDS.get(held.state, Deletion.KEPT) for each, held in left.items()}


def _due(client: ProxyClient, messages: Iterable[HeldMessage]) -> list[str]:
    """The ids of those that the proxy may be sending, or is about to."""
    soon = client.time_there() + _MARGIN_SECONDS
    pending = (each for each in messages if each.state is HeldState.PENDING)
    return [each.message_id for each in pending if each.next_try_at is None or each.next_try_at.timestamp() < soon]


def _parts(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
