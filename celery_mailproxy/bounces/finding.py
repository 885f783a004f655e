"""Finds the delivery that a notice is about: by its VERP address, or by the Message-ID that we gave the mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..deliveries.delivery import Delivery
from ..deliveries.report import MAX_ID_LENGTH
from ..deliveries.stores.base import DeliveryStore
from ..mail.verp import message_id_in
from .notice import Clues

__all__ = ["candidates", "delivery_for", "known_deliveries"]

#: How many Message-IDs of one notice are looked up: more of them are no clue.
_MAX_CANDIDATES = 8


def candidates(clues: Clues, template: str | None) -> list[str]:
    """The message ids that a notice may be about, the likeliest first; `template` is that of VERP addresses.

    Of a Message-ID it is the part before the `@`: see `own_message_id`.
    """
    found = [message_id_in(template, address) for address in clues.addresses] if template else []
    found += [each.rpartition("@")[0] for each in clues.message_ids]
    usable = (each for each in found if each and len(each) <= MAX_ID_LENGTH and each.isprintable())
    return list(dict.fromkeys(usable))[:_MAX_CANDIDATES]


def known_deliveries(store: DeliveryStore, message_ids: Iterable[str]) -> dict[str, Delivery]:
    """Those of the messages that this application has sent, on one trip. Raises `StoreError`."""
    ids = list(dict.fromkeys(message_ids))
    kept = store.get_many(ids) if ids else []
    return {delivery.message_id: delivery for delivery in kept if delivery is not None and delivery.is_known}


def delivery_for(
    found: Iterable[str], known: Mapping[str, Delivery], recipient: str | None
) -> tuple[str, Delivery] | None:
    """The message id that a notice about `recipient` belongs to, and the delivery that it was found by.

    Copies of a mail that went to each recipient alone have one Message-ID: the recipient tells which copy it is.
    """
    for message_id in found:
        delivery = known.get(message_id)
        if delivery is None:
            continue
        if not delivery.members:
            return message_id, delivery
        member = _member_of(delivery, recipient)
        if member is not None:
            return member, delivery
    return None


def _member_of(parent: Delivery, recipient: str | None) -> str | None:
    by_address = {address.lower(): message_id for address, message_id in parent.ids_by_member.items()}
    return by_address.get((recipient or "").lower())
