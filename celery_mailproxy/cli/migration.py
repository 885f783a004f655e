"""`celery -A proj mailproxy migration`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import click
from rich import box
from rich.table import Table
from rich.text import Text

from ..migration.breaker import BreakerState
from ..migration.figures import Outcomes, breaker_states, outcomes, period_counts, queue_length
from ..migration.routing import get_router
from ..reports import utcnow
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .share import share_text
from .terminal import Terminal, ago

__all__ = ["command"]

_TITLES = {"proxy": "Proxy", "legacy": "Legacy"}


@click.command("migration", cls=MailProxyCommand)
@click.option("--queue", "queues", multiple=True, help="A queue of the legacy way; may be repeated.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, queues: tuple[str, ...], is_json: bool) -> None:
    """Show how a migration goes: mails by way and outcome, share, breaker, queues.

    Counted is what was told of while mail_proxy_migration was set, in steps of
    ten minutes. Without --queue the length of the application's default queue is
    shown, in Django that of CELERY_EMAIL_TASK_CONFIG.

    \b
    Example:
      celery -A proj mailproxy migration --queue mails
    """
    app = app_of(ctx)
    runtime, router, terminal = get_runtime(app), get_router(app), Terminal.of(ctx)
    counts = period_counts(runtime)
    states = breaker_states(runtime)
    lengths = {queue: queue_length(app, queue) for queue in queues or (_legacy_queue(app),)}
    if is_json:
        terminal.json(_to_json(counts, states, lengths, router.operators_share(), router.settings.share))
        return
    _show_outcomes(terminal, {name: outcomes(numbers) for name, numbers in counts.items()})
    terminal.line(share_text(router))
    for name, state in states.items():
        terminal.line(_breaker_text(name, state))
    for queue, length in lengths.items():
        terminal.line(f"queue {queue}: {length} waiting")
    week = counts["week"]
    if shadowed := week.get("shadow/passed", 0) + week.get("shadow/failed", 0):
        terminal.line(f"shadow, last week: {shadowed} tried, {week.get('shadow/failed', 0)} would have failed")
    if runtime.settings.migration is None:
        terminal.note("mail_proxy_migration is not set: nothing is counted.")


def _show_outcomes(terminal: Terminal, periods: Mapping[str, Mapping[str, Outcomes]]) -> None:
    if terminal.is_plain:
        for period, ways in periods.items():
            for way, each in ways.items():
                numbers = f"sent {each.sent}, error {each.error}, deferred {each.deferred}"
                terminal.line(f"last {period}, {way}: {numbers}, error rate {_rate(each)}")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)
    table.add_column("Last", no_wrap=True)
    for way in _TITLES.values():
        for title in (f"{way}: sent", "error", "deferred", "error rate"):
            table.add_column(title, justify="right")
    for period, ways in periods.items():
        cells: list[str | Text] = [period]
        for way in _TITLES:
            each = ways[way]
            style = "red" if each.error else ""
            cells += [str(each.sent), Text(str(each.error), style), str(each.deferred), Text(_rate(each), style)]
        table.add_row(*cells)
    terminal.show(table)


def _rate(each: Outcomes) -> str:
    return "–" if each.error_rate is None else f"{each.error_rate:.2%}"


def _breaker_text(name: str, state: BreakerState) -> str:
    since = f", {ago(datetime.fromtimestamp(state.since, timezone.utc), utcnow())}" if state.since else ""
    return f"breaker of {name}: {state.name}{since}"


def _legacy_queue(app: Any) -> str:
    options: Mapping[str, Any] = {}
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        from ..django.options import LegacySettings

        options = LegacySettings.load().publish_options
    return str(options.get("queue") or app.conf.task_default_queue)


def _to_json(
    counts: Mapping[str, Mapping[str, int]],
    states: Mapping[str, BreakerState],
    lengths: Mapping[str, int],
    operators_share: float | None,
    configured: float,
) -> dict[str, Any]:
    periods = {
        period: {way: {**asdict(each), "error_rate": each.error_rate} for way, each in outcomes(numbers).items()}
        for period, numbers in counts.items()
    }
    week = counts["week"]
    return {
        "periods": periods,
        "share": configured if operators_share is None else operators_share,
        "is_share_of_operators": operators_share is not None,
        "breakers": {name: asdict(state) for name, state in states.items()},
        "queues": dict(lengths),
        "shadow": {name: week.get(f"shadow/{name}", 0) for name in ("passed", "failed")},
    }
