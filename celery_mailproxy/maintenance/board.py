"""What the maintenance notes in the store of its last round: for `check` and `status`, and for who leads next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..deliveries.stores.base import DeliveryStore

__all__ = ["BOARD", "NOMINAL_SECONDS", "Board", "Done", "lease_seconds", "read_board", "write_board"]

#: The name of the store's value, and of the lease of who writes it.
BOARD = "maintenance"

#: How long a round counts as where no worker makes rounds by itself, and Celery beat does instead.
NOMINAL_SECONDS = 30.0

_SHORTEST_LEASE_SECONDS = 10.0


def lease_seconds(maintenance_seconds: float) -> float:
    """How long who leads may be silent before another takes over."""
    return max(_SHORTEST_LEASE_SECONDS, 3 * (maintenance_seconds or NOMINAL_SECONDS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A duty as it was last done: when, with how much to do, and what went wrong, if anything."""

    at: datetime
    number: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The last round: when, by whom, and when each duty was last done, by its name."""

    at: datetime
    by: str
    duties: Mapping[str, Done] = field(default_factory=dict)

    def noted(self, name: str, done: Done) -> Board:
        """The board with that duty done."""
        return replace(self, duties={**self.duties, name: done})

    def is_late(self, *, now: datetime, maintenance_seconds: float) -> bool:
        """Whether the next round should have been made by now, whoever leads."""
        return now - self.at > timedelta(seconds=2 * lease_seconds(maintenance_seconds))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "at": self.at.isoformat(),
            "by": self.by,
            "duties": {
                name: {"at": done.at.isoformat(), "number": done.number, "problem": done.problem}
                for name, done in self.duties.items()
            },
        }


def read_board(store: DeliveryStore, name: str = BOARD) -> Board | None:
    """The board; None where there has been no round, or nobody can read it. Raises `StoreError`."""
    try:
        data = json.loads(store.get_value(name) or "")
        return Board(
            at=datetime.fromisoformat(data["at"]),
            by=str(data["by"]),
            duties={
                str(name): Done(at=datetime.fromisoformat(each["at"]), number=each["number"], problem=each["problem"])
                for name, each in data["duties"].items()
            },
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def write_board(store: DeliveryStore, board: Board, name: str = BOARD) -> None:
    """Keep the board. Raises `StoreError`."""
    store.set_value(name, json.dumps(board.to_json()))
