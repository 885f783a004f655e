"""Records that cannot be read: each costs its own message only, is logged, and is kept in mind for `check`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from ...errors import DamagedRecord, StoreError, redact
from .base import DeliveryStore

__all__ = ["damaged_ids", "note_damaged"]

logger = logging.getLogger(__name__)

#: The operators' value under which the ids are kept: see `DeliveryStore.set_value`.
_VALUE = "damaged-records"

#: So many ids are kept; whoever fixes them finds the next ones in the log.
_KEPT = 20


def note_damaged(store: DeliveryStore, damaged: Mapping[str, str]) -> None:
    """Log these records, message id → what is wrong, and keep their ids. Never raises."""
    for message_id, problem in damaged.items():
        logger.error("message %r: its record cannot be read, and is passed over: %s", message_id, redact(problem))
    try:
        kept = _kept(store)
        noted = list(dict.fromkeys([*kept, *damaged]))[-_KEPT:]
        if noted != kept:
            store.set_value(_VALUE, json.dumps(noted))
    except StoreError as exc:
        logger.warning("damaged records could not be noted: %s", exc)


def damaged_ids(store: DeliveryStore) -> list[str]:
    """The messages whose records were found damaged, and still are. Raises `StoreError`."""
    kept = _kept(store)
    still = [message_id for message_id in kept if _is_damaged(store, message_id)]
    if still != kept:
        store.set_value(_VALUE, json.dumps(still) if still else None)
    return still


def _kept(store: DeliveryStore) -> list[str]:
    value = store.get_value(_VALUE)
    return [str(each) for each in json.loads(value)] if value else []


def _is_damaged(store: DeliveryStore, message_id: str) -> bool:
    try:
        store.get(message_id)
    except DamagedRecord:
        return True
    return False
