"""`celery -A proj mailproxy replay`."""

from __future__ import annotations

from dataclasses import dataclass

import click

from ..dispatch.dispatcher import dispatcher_of
from ..runtime import Runtime, get_runtime
from .command import MailProxyCommand, app_of
from .tables import show_messages
from .terminal import Terminal

__all__ = ["command"]

_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replayed:
    message_id: str
    succeeded: int
    failed: int
    is_known: bool

    @property
    def outcome(self) -> tuple[str, str]:
        """In words, and their colour."""
        if not self.is_known:
            return "unknown message", "red"
        if self.failed:
            return f"{self.failed} failed again, {self.succeeded} succeeded", "red"
        return (f"{self.succeeded} succeeded", "green") if self.succeeded else ("nothing had failed", "dim")


@click.command("replay", cls=MailProxyCommand)
@click.argument("message_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="Replay every message that has a failed handler.")
@click.pass_context
def command(ctx: click.Context, message_ids: tuple[str, ...], is_all: bool) -> None:
    """Run failed handlers again.

    Runs the signal handlers and callbacks that raised, in this process; those
    that succeeded are not run twice. Exits with code 1 if one fails again: its
    traceback is logged to standard error.

    \b
    Examples:
      celery -A proj mailproxy replay 6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d
      celery -A proj mailproxy replay --all
    """
    if is_all == bool(message_ids):
        raise click.UsageError("Give message ids or --all.", ctx)
    terminal = Terminal.of(ctx)
    runtime = get_runtime(app_of(ctx, with_handlers=True))
    ids = runtime.store.failed(limit=_AT_ONCE) if is_all else message_ids
    if not ids:
        terminal.line("No handler has failed.")
        return
    replayed = [_replay(runtime, message_id) for message_id in ids]
    show_messages(terminal, "Handlers", ((each.message_id, *each.outcome) for each in replayed))
    if any(each.failed or not each.is_known for each in replayed):
        ctx.exit(1)


def _replay(runtime: Runtime, message_id: str) -> _Replayed:
    is_known = runtime.store.get(message_id) is not None
    succeeded, failed = dispatcher_of(runtime).replay(message_id)
    return _Replayed(message_id=message_id, succeeded=succeeded, failed=failed, is_known=is_known)
