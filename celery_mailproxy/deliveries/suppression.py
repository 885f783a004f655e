"""Addresses that are to get no more mail: values, and how a delivery remembers whom its mail went to.

An address on the list is written as `mail.addresses.address_key` gives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Any

__all__ = ["DIGESTS", "Cause", "SuppressedAddress", "digest_of", "digests_of"]

#: Where a delivery's summary has the digests of its recipients, if they are not in it themselves.
DIGESTS = "recipient_digests"

_DIGEST_LENGTH = 16


class Cause(str, Enum):
    """Why an address is on the list."""

    BOUNCED = "bounced"  #: a hard bounce said that the address is no good
    COMPLAINED = "complained"  #: its owner called a mail spam
    ADDED = "added"  #: an operator, or the application, has put it there

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressedAddress:
    """An address on the list, once for each cause. `message_id` is the mail's that bounced or was complained of."""

    address: str = field(repr=False)
    cause: Cause
    at: datetime
    message_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON-able dict."""
        return {
            "address": self.address,
            "cause": self.cause.value,
            "at": self.at.isoformat(),
            "message_id": self.message_id,
        }


def digest_of(message_id: str, address: str) -> str:
    """The digest by which the delivery of that message knows the address again: it is no other delivery's."""
    text = f"{message_id}\0{address.lower()}"
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:_DIGEST_LENGTH]


def digests_of(message_id: str, addresses: Iterable[str]) -> Mapping[str, list[str]]:
    """What a delivery's summary holds of the addresses that its mail went to."""
    return {DIGESTS: sorted({digest_of(message_id, each) for each in addresses})}
