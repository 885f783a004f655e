"""Erasing an address from the store, for `celery mailproxy forget` and `manage.py mailproxy_forget`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from functools import reduce
from typing import Any

from ..deliveries.sought_address import SoughtAddress
from ..deliveries.stores.base import DeliveryStore, Erased, Kept
from ..errors import InvalidMessage
from ..mail.addresses import parse_mailbox
from .terminal import Terminal, plain

__all__ = ["ADDRESS_PROBLEM", "LEFT", "erase_in", "read_address"]

#: The exit code where something that holds the address was left as it is.
LEFT = 3

_SUPPRESSED = {
    "kept": "It stays on the suppression list: no mail goes there.",
    "removed": "It was removed from the suppression list: mail may be sent there again.",
    "would be removed": "It would be removed from the suppression list: mail may be sent there again then.",
}

ADDRESS_PROBLEM = "must be one mail address, such as name@example.com"

#: kind → why such a thing is left, and what to do.
_WHY = {
    "delivery": "Deliveries that have not ended still need it: their mails are sent and reported. Run this again then. "
    "To keep a new one from being sent, revoke its task before.",
    "task": "Mails in the outbox are still to be sent. They are dropped when the proxy has them, or their tasks are "
    "revoked.",
    "dead letter": "Nobody else has the mail of a dead letter: retry or delete it in the admin.",
    "damaged": "Records that cannot be read may hold it: mend or delete them.",
}


def read_address(text: str) -> SoughtAddress | None:
    """The address in a command's argument, `Ann <ann@example.com>` or bare, or on standard input where that is `-`.

    None where there is not one.
    """
    if text == "-":
        text = sys.stdin.readline()
    try:
        return SoughtAddress(address=parse_mailbox("ADDRESS", text.strip()).address)
    except InvalidMessage:
        # Its text quotes what was given.
        return None


def erase_in(
    store: DeliveryStore,
    sought: SoughtAddress,
    terminal: Terminal,
    *,
    is_json: bool,
    is_dry_run: bool,
    keeps_suppressed: bool = False,
) -> bool:
    """Erase the address, and show what was done and what was left; whether nothing was. Never shows the address.

    It leaves the suppression list, too, unless `keeps_suppressed`.
    """
    with closing(store.erase(sought, is_dry_run=is_dry_run)) as pages:  # type: ignore[type-var]
        erased = reduce(Erased.joined, _watched(pages, terminal), Erased())
    kept = [_without(each, sought) for each in erased.kept]
    # At last: until then no mail brings it back.
    suppressed = _leave_list(store, sought, is_dry_run=is_dry_run, keeps_suppressed=keeps_suppressed)
    if is_json:
        terminal.json(
            {
                "is_dry_run": is_dry_run,
                "looked_at": erased.looked_at,
                "changed": len(erased.changed),
                "deleted": len(erased.deleted),
                "suppressed": suppressed,
                "kept": [asdict(each) for each in kept],
            }
        )
    else:
        _show(terminal, erased, kept, is_dry_run=is_dry_run)
        if suppressed is not None:
            terminal.line(_SUPPRESSED[suppressed])
    return not kept


def _leave_list(store: DeliveryStore, sought: SoughtAddress, *, is_dry_run: bool, keeps_suppressed: bool) -> str | None:
    """What becomes of it on the suppression list, as a word; None where it is not there."""
    address = sought.address.lower()
    if not store.suppression.find([address]):
        return None
    if keeps_suppressed:
        return "kept"
    if is_dry_run:
        return "would be removed"
    store.suppression.remove([address])
    return "removed"


def _watched(pages: Iterable[Erased], terminal: Terminal) -> Iterator[Erased]:
    """The pages; whoever watches sees how many records they had."""
    looked_at = 0
    with terminal.err.status("Looking…") if terminal.err.is_terminal else nullcontext() as status:
        for page in pages:
            looked_at += page.looked_at
            if status is not None:
                status.update(f"{looked_at:,} records looked at…")
            yield page


def _without(kept: Kept, sought: SoughtAddress) -> Kept:
    return replace(kept, id=sought.erased_from(kept.id))


def _show(terminal: Terminal, erased: Erased, kept: list[Kept], *, is_dry_run: bool) -> None:
    verb = "would be erased" if is_dry_run else "was erased"
    deleted = f"; {len(erased.deleted):,} of them deleted, for it is in their ids" if erased.deleted else ""
    number = len(erased.changed) + len(erased.deleted)
    terminal.line(f"The address {verb} from {number:,} of {erased.looked_at:,} records{deleted}.")
    for each in kept:
        status = f" ({each.status})" if each.status else ""
        terminal.line(f"left: {each.kind} {plain(each.id)}{status}")
    kinds: dict[str, Any] = dict.fromkeys(each.kind for each in kept)
    for kind in kinds:
        terminal.note(_WHY[kind])
