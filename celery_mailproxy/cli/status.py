"""`celery -A proj mailproxy status`."""

from __future__ import annotations

from typing import Any

import click

from ..deliveries.delivery import Delivery, HistoryEntry
from ..deliveries.report import utcnow
from ..deliveries.suppression import DIGESTS
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .delivery_view import show_delivery
from .maintenance_view import maintenance_json, show_maintenance
from .options import json_option
from .terminal import Terminal

__all__ = ["command"]


@click.command("status", cls=MailProxyCommand)
@click.argument("message_ids", nargs=-1, metavar="[ID]...")
@json_option("Print one JSON object per message, one per line.")
@click.pass_context
def command(ctx: click.Context, message_ids: tuple[str, ...], is_json: bool) -> None:
    """Show a message's status.

    Without an ID, shows who did the maintenance last, and when. With one, shows
    the message's times, its reason and every report received. ID is the message
    id: the id of the send_via_proxy task, unless you set one. The content
    of an email is never shown. Exits with code 1 if a message is unknown.

    \b
    Example:
      celery -A proj mailproxy status 6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d
    """
    terminal = Terminal.of(ctx)
    runtime = get_runtime(app_of(ctx))
    store = runtime.store
    if not message_ids and is_json:
        terminal.json(maintenance_json(runtime, now=utcnow()))
    elif not message_ids:
        show_maintenance(terminal, runtime, now=utcnow())
    unknown = []
    for message_id in message_ids:
        delivery = store.get(message_id)
        if delivery is None:
            unknown.append(message_id)
        elif is_json:
            terminal.json(_to_json(delivery))
        else:
            show_delivery(terminal, delivery, now=utcnow())
    for message_id in unknown:
        terminal.error(f"no message {message_id!r} is known: it was never sent by this application, or has expired.")
    if unknown:
        ctx.exit(1)


def _to_json(delivery: Delivery) -> dict[str, Any]:
    times = {
        name: None if at is None else at.isoformat()
        for name, at in (
            ("created_at", delivery.created_at),
            ("updated_at", delivery.updated_at),
            ("queued_at", delivery.queued_at),
            ("sent_at", delivery.sent_at),
            ("ended_at", delivery.ended_at),
        )
    }
    places = ("message_id", "parent_id", "task_id", "server", "tenant_id", "account_id", "batch_code")
    return {
        **{name: getattr(delivery, name) for name in (*places, "reason", "attempts")},
        "status": delivery.status.value,
        "is_known": delivery.is_known,
        "member_ids": list(delivery.member_ids),
        **times,
        "summary": {name: value for name, value in delivery.summary.items() if name != DIGESTS},
        "history": [_entry_to_json(entry) for entry in delivery.history],
    }


def _entry_to_json(entry: HistoryEntry) -> dict[str, Any]:
    report = {key: value for key, value in entry.report.to_json().items() if key not in ("raw", "message_id")}
    return {
        **report,
        "is_stale": entry.is_stale,
        "is_dispatched": entry.is_dispatched,
        "failed": list(entry.failed),
    }
