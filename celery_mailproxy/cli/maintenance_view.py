"""The maintenance as the operator sees it: who did it last, when, and how much each duty had to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.text import Text

from ..maintenance.board import Board, read_board
from ..runtime import Runtime
from .terminal import Terminal, ago, plain

__all__ = ["maintenance_json", "show_maintenance"]


def show_maintenance(terminal: Terminal, runtime: Runtime, *, now: datetime) -> None:
    """Print the last round, and what waits in the outbox past its time."""
    board = read_board(runtime.store)
    if board is None:
        terminal.line("Maintenance: never done in this store.")
    else:
        _show_board(terminal, board, now, maintenance_seconds=runtime.settings.maintenance_seconds)
    terminal.line(f"Outbox: {runtime.store.outbox.overdue(now=now)} due")


def maintenance_json(runtime: Runtime, *, now: datetime) -> dict[str, Any]:
    """The same as `{"maintenance": {"at", "by", "duties"} or None, "outbox_due": n}`."""
    board = read_board(runtime.store)
    return {
        "maintenance": board.to_json() if board else None,
        "outbox_due": runtime.store.outbox.overdue(now=now),
    }


def _show_board(terminal: Terminal, board: Board, now: datetime, *, maintenance_seconds: float) -> None:
    is_late = board.is_late(now=now, maintenance_seconds=maintenance_seconds)
    moment = Text(f"{ago(board.at, now)} by {plain(board.by)}", "yellow" if is_late else "")
    terminal.line(Text.assemble("Maintenance: ", moment))
    for name, done in board.duties.items():
        result = Text(plain(done.problem), "red") if done.problem else Text(str(done.number))
        terminal.line(Text.assemble(f"  {plain(name):<10} {ago(done.at, now):<12} ", result))
