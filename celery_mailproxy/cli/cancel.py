"""`celery -A proj mailproxy cancel`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from ..control.cancellation import Cancellation, CancelOutcome
from ..control.cancelling import cancel_many
from .command import MailProxyCommand, app_of
from .options import json_option
from .tables import show_messages
from .terminal import Terminal, plain

__all__ = ["command"]

#: The exit code where one of them may have been sent, and where one was not cancelled.
_MAYBE_SENT, _NOT_CANCELLED = 3, 1

_STYLES: Mapping[CancelOutcome, str] = {
    CancelOutcome.BEFORE_SUBMISSION: "green",
    CancelOutcome.AT_PROXY: "green",
    CancelOutcome.TOO_LATE: "red",
    CancelOutcome.MAYBE_SENT: "yellow",
    CancelOutcome.UNKNOWN: "red",
}


@click.command("cancel", cls=MailProxyCommand)
@click.argument("message_ids", nargs=-1, required=True, metavar="ID...")
@json_option("Print one JSON object per message, one per line.")
@click.pass_context
def command(ctx: click.Context, message_ids: tuple[str, ...], is_json: bool) -> None:
    """Cancel emails that have not been sent.

    No worker submits them any more, and the proxy deletes those that wait
    there. With - instead of IDs, they are read from standard input, one per
    line. Says for each what that came to: an email counts as cancelled only
    if it surely was not sent. Exits with code 3 if one may have been sent,
    else with 1 if one was not cancelled.

    \b
    Examples:
      celery -A proj mailproxy cancel 6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d
      celery -A proj mailproxy cancel --json - < ids.txt
    """
    ids = _read_ids() if message_ids == ("-",) else list(dict.fromkeys(message_ids))
    terminal = Terminal.of(ctx)
    answers = cancel_many(ids, app=app_of(ctx))
    if is_json:
        for each in answers:
            terminal.json(_to_json(each))
    else:
        rows = ((each.message_id, _said(each), _STYLES[each.outcome]) for each in answers)
        show_messages(terminal, "Outcome", rows)
    if any(each.outcome is CancelOutcome.MAYBE_SENT for each in answers):
        ctx.exit(_MAYBE_SENT)
    if not all(each.is_cancelled for each in answers):
        ctx.exit(_NOT_CANCELLED)


def _read_ids() -> list[str]:
    lines = (line.strip() for line in sys.stdin)
    return list(dict.fromkeys(line for line in lines if line))


def _to_json(answer: Cancellation) -> dict[str, Any]:
    return {
        "message_id": answer.message_id,
        "outcome": answer.outcome.value,
        "is_cancelled": answer.is_cancelled,
        "status": None if answer.status is None else answer.status.value,
        "reason": answer.reason,
    }


def _said(answer: Cancellation) -> str:
    if answer.outcome is CancelOutcome.TOO_LATE and answer.status is not None:
        return f"too late: {answer.status}"
    if answer.outcome is CancelOutcome.UNKNOWN:
        return "unknown id; if a worker gets it, it is not sent"
    return f"{answer.outcome}: {plain(answer.reason)}" if answer.reason else str(answer.outcome)
