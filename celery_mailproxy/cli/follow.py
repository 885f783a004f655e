"""Following one delivery to its end, by looking into the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from rich.text import Text

from ..deliveries.delivery import Delivery, HistoryEntry, Status
from ..deliveries.stores.base import DeliveryStore
from .delivery_view import entry_text
from .terminal import Terminal, span

__all__ = ["Followed", "follow", "is_settled"]

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
    terminal: Terminal | None = None,
    stop_at: Callable[[Status], bool] = lambda status: status.is_end,
) -> Followed:
    """Wait until the delivery has ended or `stop_at` says so; a terminal shows each report: `   0.4 s  ● queued`.

    Raises `StoreError` where the store cannot be read.
    """
    if terminal is None:
        return _poll(store, message_id, timeout_seconds, lambda seconds, entry: None, stop_at)
    waiting = nullcontext() if terminal.is_plain else terminal.out.status("Waiting for the delivery report …")
    with waiting:
        return _poll(store, message_id, timeout_seconds, partial(_show, terminal), stop_at)


def is_settled(status: Status) -> bool:
    """A `stop_at` for whoever asks whether mail can be sent: the proxy retries a deferred mail minutes later."""
    return status.is_end or status is Status.DEFERRED


def _poll(
    store: DeliveryStore,
    message_id: str,
    timeout_seconds: float,
    show: Callable[[float, HistoryEntry], None],
    stop_at: Callable[[Status], bool],
) -> Followed:
    started = time.monotonic()
    shown = 0
    while True:
        delivery = store.get(message_id)
        followed = Followed(delivery=delivery, seconds=time.monotonic() - started)
        for entry in (delivery.history if delivery else ())[shown:]:
            show(followed.seconds, entry)
            shown += 1
        if stop_at(followed.status) or followed.seconds >= timeout_seconds:
            return followed
        time.sleep(min(_POLL_SECONDS, max(timeout_seconds - followed.seconds, 0.0)))


def _show(terminal: Terminal, seconds: float, entry: HistoryEntry) -> None:
    kind, remark = entry_text(terminal, entry)
    terminal.line(Text.assemble((f"{span(seconds):>9}  ", "dim"), kind, "  " if remark else "", remark))
