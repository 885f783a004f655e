"""`Withdrawals`: what a store does so that a mail is either submitted or withdrawn, and everybody knows which."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..delivery import Delivery

__all__ = ["Withdrawals"]


class Withdrawals(ABC):
    """A part of the contract of a `DeliveryStore`; see `leaving`."""

    @abstractmethod
    def withdraw(self, message_ids: Sequence[str]) -> list[Delivery]:
        """Keep each from being submitted by a run that begins from now on, and answer how it stands, in that order.

        Of an unknown one that much is kept, for the run that will register it. Raises `DamagedRecord` as `register`
        does. One round trip for all.
        """

    @abstractmethod
    def take_back(self, message_ids: Sequence[str], run: str) -> None:
        """Note that this run, which began to submit them, surely did not bring them to the proxy.

        Unknown ones are passed over. One round trip for all.
        """
