"""Following one delivery to its end, by looking into the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from rich.text import Text

from ..deliveries.delivery import Delivery, HistoryEntry, Status
from ..deliveries.stores.base import DeliveryStore
from .delivery_view import entry_text
from .terminal import Terminal, span

__all__ = ["Followed", "follow", "follow_on"]

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Where a delivery stood when it ended, or when time was up. `delivery` is None where it was never registered."""

    delivery: Delivery | None
    seconds: float

    @property
    def status(self) -> Status:
        return self.delivery.status if self.delivery else Status.NEW

    @property
    def reason(self) -> str | None:
        return self.delivery.reason if self.delivery else None


def follow(
    store: DeliveryStore,
    message_id: str,
    *,
    timeout_seconds: float,
    tell: Callable[[float, HistoryEntry], None] = lambda seconds, entry: None,
    stop_at: Callable[[Status], bool] = lambda status: status.is_end,
) -> Followed:
    """Wait until the delivery has ended, and `tell(seconds since the start, entry)` each report on the way.

    Raises `StoreError` where the store cannot be read.
    """
    started = time.monotonic()
    told = 0
    while True:
        delivery = store.get(message_id)
        followed = Followed(delivery=delivery, seconds=time.monotonic() - started)
        for entry in (delivery.history if delivery else ())[told:]:
            tell(followed.seconds, entry)
            told += 1
        if stop_at(followed.status) or followed.seconds >= timeout_seconds:
            return followed
        time.sleep(min(_POLL_SECONDS, max(timeout_seconds - followed.seconds, 0.0)))


def follow_on(
    terminal: Terminal,
    store: DeliveryStore,
    message_id: str,
    *,
    timeout_seconds: float,
    stop_at: Callable[[Status], bool] = lambda status: status.is_end,
) -> Followed:
    """`follow`, shown line by line: `   0.4 s  ● queued`."""

    def tell(seconds: float, entry: HistoryEntry) -> None:
        kind, remark = entry_text(terminal, entry)
        line = Text.assemble((f"{span(seconds):>9}  ", "dim"), kind, "  " if remark else "", remark)
        terminal.line(line)

    waiting = nullcontext() if terminal.is_plain else terminal.out.status("Waiting for the delivery report …")
    with waiting:
        return follow(store, message_id, timeout_seconds=timeout_seconds, tell=tell, stop_at=stop_at)
