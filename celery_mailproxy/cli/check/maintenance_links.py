"""The link that nobody sees: what workers do by themselves, and what is left undone where they do not."""

from __future__ import annotations

from datetime import datetime, timedelta

from ...maintenance.board import Board, lease_seconds, read_board
from ...runtime import Runtime
from ..terminal import ago, plain
from .links import Link, fine, skipped, warning

__all__ = ["check_maintenance"]

_NAME = "maintenance"

_START_A_WORKER = "Start a worker that imports celery_mailproxy.tasks; its log says what keeps it from the maintenance."
_ASK_BEAT = (
    "Let Celery beat run celery_mailproxy.maintain every 30 seconds, or set mail_proxy_maintenance_seconds to 10."
)


def check_maintenance(runtime: Runtime, *, now: datetime) -> Link:
    """Somebody did it lately, nothing went wrong, and nothing waits past its time."""
    if runtime.app.conf.task_always_eager:
        return skipped(_NAME, "task_always_eager is set: nothing is left over")
    seconds = runtime.settings.maintenance_seconds
    remedy = _START_A_WORKER if seconds else _ASK_BEAT
    board = read_board(runtime.store)
    overdue = runtime.store.outbox.overdue(now=now - timedelta(seconds=lease_seconds(seconds)))
    if board is None and not seconds and not overdue:
        return skipped(_NAME, "mail_proxy_maintenance_seconds is 0, and no task has done it")
    found = "never done" if board is None else f"done {ago(board.at, now)} by {plain(board.by)}"
    if overdue:
        return warning(_NAME, f"{found}; overdue in the outbox: {overdue}", remedy)
    if board is None or board.is_late(now=now, maintenance_seconds=seconds):
        return warning(_NAME, found, remedy)
    if problems := _problems(board):
        return warning(_NAME, f"{found}; failed: {problems}", f"See the log of {plain(board.by)}.")
    return fine(_NAME, found)


def _problems(board: Board) -> str:
    failed = [(name, done.problem) for name, done in board.duties.items() if done.problem]
    return ", ".join(f"{plain(name)} ({plain(problem or '')})" for name, problem in failed)
