"""Erasing an address from what is remembered of a message: pure functions, shared by every store.

Only what has ended is touched. The record stays, with its status, its times and its ids: it keeps a message from being
sent, and a report from being dispatched, a second time.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from .delivery import Delivery, HistoryEntry, Status, callback_name, is_undispatched
from .report import DeliveryReport
from .sought_address import ERASED, SoughtAddress
from .suppression import DIGESTS, digest_of
from .suspension import Suspension, SuspensionState

__all__ = ["Fate", "erase", "is_open", "may_be_in_message"]

_REPORT_TEXTS = ("reason", "code", "bounce_type", "pec_event", "recipient")


class Fate(str, Enum):
    """What becomes of a record when an address is erased."""

    UNTOUCHED = "untouched"  #: the address is not in it
    ERASED = "erased"  #: the record stays, without the address
    DELETED = "deleted"  #: the address is in one of its ids: there is no record without it
    OPEN = "open"  #: somebody still needs the address: nothing is changed


def erase(delivery: Delivery, sought: SoughtAddress) -> tuple[Fate, Delivery]:
    """What becomes of a delivery, and the delivery as it is to be kept then.

    Reasons, metadata, tags and the proxy's entries get `<address>` in place of the address, as summaries do; a
    recipient goes with the name beside it, and where a mail had no other, so does its subject. A callback with the
    address among its arguments is never called any more, and cannot be replayed: with another argument it might do
    anything. Handlers that failed can be replayed, and get the report without the address.
    """
    erased = _erased(delivery, sought)
    is_in_id = sought.is_in([delivery.message_id, delivery.task_id, delivery.parent_id, delivery.batch_code])
    if erased == delivery and not is_in_id and not _is_in_suspension(sought, delivery.suspension):
        return Fate.UNTOUCHED, delivery
    # A member's id is its parent's, and as long as that one is open it asks for its members.
    if is_open(delivery) or (is_in_id and delivery.parent_id is not None):
        return Fate.OPEN, delivery
    return (Fate.DELETED if is_in_id else Fate.ERASED), erased


def is_open(delivery: Delivery) -> bool:
    """Whether something is yet to be done for the message: by the proxy, a handler, a callback, or its result."""
    if any(is_undispatched(entry) for entry in delivery.history):
        return True
    if delivery.suspension is not None:
        return delivery.suspension.state is not SuspensionState.DONE
    if not delivery.is_known and delivery.status is not Status.NEW:
        # Only reports are known of it: another application sent it, or its record has expired.
        return False
    return not delivery.is_ended


def may_be_in_message(sought: SoughtAddress, content: str) -> bool:
    """Whether the address may be in a task's message as a store keeps it, each line of which is JSON or base64."""
    return any(_may_be_in_line(sought, line) for line in content.split("\n") if line)


def _may_be_in_line(sought: SoughtAddress, line: str) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return _may_be_in_base64(sought, line)
    # `resumer.capture_message` puts what is not JSON there.
    is_wrapped = isinstance(value, Mapping) and isinstance(value.get("b"), str)
    return sought.is_in(value) or (is_wrapped and _may_be_in_base64(sought, value["b"]))


def _may_be_in_base64(sought: SoughtAddress, text: str) -> bool:
    try:
        return sought.may_be_in(b64decode(text))
    except ValueError:
        return sought.may_be_in(text.encode("utf-8", "replace"))


def _is_in_suspension(sought: SoughtAddress, suspension: Suspension | None) -> bool:
    if suspension is None:
        return False
    return sought.is_in(suspension.owner) or may_be_in_message(sought, suspension.message or "")


def _erased(delivery: Delivery, sought: SoughtAddress) -> Delivery:
    callbacks, dropped = _erased_callbacks(delivery.callbacks, sought)
    return replace(
        delivery,
        history=tuple(_erased_entry(entry, sought, dropped) for entry in delivery.history),
        callbacks=callbacks,
        metadata=sought.erased_from(delivery.metadata),
        tags=tuple(sought.erased_from(tag) for tag in delivery.tags),
        summary=_erased_summary(_without_digest(delivery, sought), sought),
        members=tuple(_erased_member(each, index, sought) for index, each in enumerate(delivery.members)),
    )


def _erased_entry(entry: HistoryEntry, sought: SoughtAddress, dropped: frozenset[str]) -> HistoryEntry:
    report = _erased_report(entry.report, sought)
    failed = tuple(name for name in entry.failed if name not in dropped)
    # The same entry where nothing is changed: a store tells by that what to write.
    return entry if report is entry.report and failed == entry.failed else replace(entry, report=report, failed=failed)


def _erased_report(report: DeliveryReport, sought: SoughtAddress) -> DeliveryReport:
    texts = {name: getattr(report, name) for name in _REPORT_TEXTS}
    erased = {**{name: sought.erased_from(text) for name, text in texts.items()}, "raw": sought.erased_from(report.raw)}
    return report if erased == {**texts, "raw": report.raw} else replace(report, **erased)


def _erased_callbacks(
    callbacks: Mapping[str, Sequence[Mapping[str, Any]]], sought: SoughtAddress
) -> tuple[Mapping[str, Sequence[Mapping[str, Any]]], frozenset[str]]:
    """The callbacks as they stay, each with its number, of which its task's id is made; the names of the others."""
    if not sought.is_in(callbacks):
        return callbacks, frozenset()
    kept: dict[str, list[Mapping[str, Any]]] = {}
    dropped: set[str] = set()
    for outcome, signatures in callbacks.items():
        for index, signature in enumerate(signatures):
            is_in = sought.is_in(signature)
            kept.setdefault(outcome, []).append({} if is_in else signature)
            if is_in:
                dropped.add(callback_name(outcome, index, signature))
    return kept, frozenset(dropped)


def _without_digest(delivery: Delivery, sought: SoughtAddress) -> Mapping[str, Any]:
    summary = delivery.summary
    digest = digest_of(delivery.message_id, sought.address)
    if digest not in (summary.get(DIGESTS) or ()):
        return summary
    return {**summary, DIGESTS: [each for each in summary[DIGESTS] if each != digest]}


def _erased_summary(summary: Mapping[str, Any], sought: SoughtAddress) -> Mapping[str, Any]:
    if not sought.is_in(summary):
        return summary
    erased: dict[str, Any] = {}
    for name, value in summary.items():
        if name == "from" and sought.is_in(value):
            erased[name] = ERASED
        elif name == "to" and isinstance(value, list | tuple):
            erased[name] = [ERASED if sought.is_in(each) else each for each in value]
        else:
            erased[name] = sought.erased_from(value)
    recipients = erased.get("to")
    if recipients and all(each == ERASED for each in recipients):
        erased.pop("subject", None)
    return erased


def _erased_member(member: str, index: int, sought: SoughtAddress) -> str:
    # Each is a key of its own in what the mail came to.
    return f"<address {index}>" if sought.is_in(member) else member
