"""The contract of a suppression list: addresses that are to get no more mail.

`tests/contract/test_suppression_contract.py` holds every store to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from ..suppression import SuppressedAddress

__all__ = ["SuppressionList"]


class SuppressionList(ABC):
    """Addresses by themselves and their cause. They stay until they are removed; nothing else forgets them.

    Safe to share between threads, as the store is; each method is atomic for an entry. Addresses are compared as they
    are: callers give the form of `mail.addresses.address_key`.
    """

    @abstractmethod
    def add(self, entries: Sequence[SuppressedAddress]) -> int:
        """Put these on the list, unless they are there for the same cause; how many were not. One round trip for all.

        So it may be done any number of times: the first of an address and a cause stays.
        """

    @abstractmethod
    def find(self, addresses: Sequence[str]) -> list[SuppressedAddress]:
        """The entries of those among the addresses that are on the list, in no order. One round trip for all."""

    @abstractmethod
    def remove(self, addresses: Sequence[str]) -> int:
        """Take these off the list, whatever the cause; how many entries they had. One round trip for all."""

    @abstractmethod
    def pages(self) -> Iterator[Sequence[SuppressedAddress]]:
        """All entries in no order, some hundred at a time. Those that come or go meanwhile may be missing."""
