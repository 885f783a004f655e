"""`celery -A proj mailproxy migration`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any

import click
from celery import Celery
from rich import box
from rich.table import Table
from rich.text import Text

from ..deliveries.report import utcnow
from ..migration.backlog import Held, held_by_workers, legacy_queues, legacy_tasks, queue_length
from ..migration.breaker import BreakerState
from ..migration.figures import Outcomes, breaker_states, outcomes, own_shares, period_counts
from ..migration.routing import Router, get_router
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .options import json_option
from .share import share_lines
from .terminal import Terminal, ago

__all__ = ["command"]

_SHADOW = ("passed", "failed", "skipped")


@click.command("migration", cls=MailProxyCommand)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Queue of legacy tasks; may be repeated.")
@json_option()
@click.pass_context
def command(ctx: click.Context, queues: tuple[str, ...], is_json: bool) -> None:
    """Show the progress of a migration to the proxy.

    Shows emails by transport and outcome, the share, the breakers and the queues.
    Emails are counted while mail_proxy_migration is set, in steps of ten minutes.
    Without --queue, the queues are those where the legacy tasks are published. A
    task that a worker holds, such as a retry until its time, has left its queue:
    these are shown by task, as far as workers answer within a second.

    \b
    Example:
      celery -A proj mailproxy migration --queue mails
    """
    # Which tasks are migrated is known once they are imported.
    app = app_of(ctx, with_handlers=True)
    runtime, router, terminal = get_runtime(app), get_router(app), Terminal.of(ctx)
    counts = period_counts(runtime)
    states = breaker_states(runtime)
    shares = share_lines(app, router)
    tasks = legacy_tasks(app)
    lengths, held = _backlog(app, queues or legacy_queues(app), tasks)
    if is_json:
        terminal.json(_to_json(counts, states, lengths, held, _shares(app, router)))
        return
    _show_outcomes(terminal, {name: outcomes(numbers) for name, numbers in counts.items()})
    lines = [
        *shares,
        *(_breaker_text(name, state) for name, state in states.items()),
        *(_queue_text(queue, length) for queue, length in lengths.items()),
        *_held_lines(tasks, lengths, held),
        *_shadow_lines(counts["week"]),
    ]
    for line in lines:
        terminal.line(line)
    if runtime.settings.migration is None:
        terminal.note("mail_proxy_migration is not set: nothing is counted.")


def _backlog(app: Celery, queues: Sequence[str], tasks: Sequence[str]) -> tuple[dict[str, int | None], Held | None]:
    # First the queues: what a worker takes from one meanwhile is counted twice, but not missed.
    lengths = {queue: queue_length(app, queue) for queue in queues}
    has_broker = any(length is not None for length in lengths.values())
    return lengths, held_by_workers(app, tasks) if tasks and has_broker else None


def _show_outcomes(terminal: Terminal, periods: Mapping[str, Mapping[str, Outcomes]]) -> None:
    if terminal.is_plain:
        for period, ways in periods.items():
            for way, each in ways.items():
                numbers = f"sent {each.sent}, error {each.error}, deferred {each.deferred}"
                terminal.line(f"last {period}, {way}: {numbers}, error rate {_rate(each)}")
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, collapse_padding=True)
    for title in ("Last", "Way"):
        table.add_column(title, no_wrap=True)
    for title in ("sent", "error", "deferred", "error rate"):
        table.add_column(title, justify="right", no_wrap=True)
    for period, ways in periods.items():
        for number, (way, each) in enumerate(ways.items()):
            style = "red" if each.error else ""
            error, rate = Text(str(each.error), style), Text(_rate(each), style)
            table.add_row("" if number else period, way, str(each.sent), error, str(each.deferred), rate)
    terminal.show(table)


def _rate(each: Outcomes) -> str:
    return "–" if each.error_rate is None else f"{each.error_rate:.2%}"


def _breaker_text(name: str, state: BreakerState) -> str:
    since = f", {ago(datetime.fromtimestamp(state.since, timezone.utc), utcnow())}" if state.since else ""
    return f"breaker of {name}: {state.name}{since}"


def _queue_text(queue: str, length: int | None) -> str:
    return (
        f"queue {queue}: unknown (the broker cannot be reached)"
        if length is None
        else f"queue {queue}: {length} waiting"
    )


def _held_lines(tasks: Sequence[str], lengths: Mapping[str, int | None], held: Held | None) -> list[str]:
    if not any(length is not None for length in lengths.values()):
        return []
    if held is None:
        return [f"task {name}: held by workers unknown (none answered)" for name in tasks]
    answered = f"{held.workers} worker{'' if held.workers == 1 else 's'} answered"
    return [f"task {name}: {number} held by workers ({answered})" for name, number in held.tasks.items()]


def _shadow_lines(week: Mapping[str, int]) -> list[str]:
    passed, failed, skipped = (week.get(f"shadow/{name}", 0) for name in _SHADOW)
    if not (passed or failed or skipped):
        return []
    text = f"shadow, last week: {passed + failed} tried, {failed} would have failed"
    return [f"{text}, {skipped} skipped" if skipped else text]


def _shares(app: Celery, router: Router) -> dict[str, Any]:
    operators = router.operators_share()
    own = own_shares(app)
    return {
        "share": router.settings.share if operators is None else operators,
        "is_share_of_operators": operators is not None,
        # Theirs holds for every task.
        "task_shares": own if operators is None else dict.fromkeys(own, operators),
    }


def _to_json(
    counts: Mapping[str, Mapping[str, int]],
    states: Mapping[str, BreakerState],
    lengths: Mapping[str, int | None],
    held: Held | None,
    shares: Mapping[str, Any],
) -> dict[str, Any]:
    periods = {
        period: {way: {**asdict(each), "error_rate": each.error_rate} for way, each in outcomes(numbers).items()}
        for period, numbers in counts.items()
    }
    return {
        "periods": periods,
        **shares,
        "breakers": {name: asdict(state) for name, state in states.items()},
        "queues": dict(lengths),
        "held_by_workers": None if held is None else dict(held.tasks),
        "shadow": {name: counts["week"].get(f"shadow/{name}", 0) for name in _SHADOW},
    }
