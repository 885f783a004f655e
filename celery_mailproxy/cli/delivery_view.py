"""A delivery as the operator sees it: a panel in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..deliveries.delivery import Delivery, HistoryEntry, failed_entries
from .terminal import STYLES, Terminal, ago, clock_time, local, local_time, plain, span

__all__ = ["entry_text", "show_delivery"]

#: Wider lines are hard to follow with the eye.
_MAX_WIDTH = 110


def show_delivery(terminal: Terminal, delivery: Delivery, *, now: datetime) -> None:
    """Print one delivery."""
    fields = list(_fields(delivery, now))
    entries = [(*_moment(entry, delivery), *_dispatched_text(terminal, entry)) for entry in delivery.history]
    hints = _hints(terminal, delivery)
    if terminal.is_plain:
        _show_plain(terminal, delivery, fields, entries, hints)
        return
    parts: list[RenderableType] = [_grid(fields, dim=1), Text()]
    parts.append(_grid(entries, dim=2) if entries else Text("No report yet.", "dim"))
    for hint in hints:
        parts += [Text(), hint]
    style = STYLES[delivery.status]
    panel = Panel(
        Group(*parts),
        title=Text(plain(delivery.message_id), "bold"),
        title_align="left",
        subtitle=Text(str(delivery.status), f"bold {style}"),
        subtitle_align="right",
        border_style=style,
        padding=(1, 2),
        width=min(terminal.out.width, _MAX_WIDTH),
    )
    terminal.show(panel)


def _grid(rows: Sequence[Sequence[str | Text]], *, dim: int) -> Table:
    """Rows in columns, the first `dim` of them dimmed; what is too long is folded in the last."""
    grid = Table.grid(padding=(0, 2))
    last = len(rows[0]) - 1
    for index in range(last + 1):
        grid.add_column(style="dim" if index < dim else "", no_wrap=index < last, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _show_plain(
    terminal: Terminal,
    delivery: Delivery,
    fields: list[tuple[str, Text]],
    entries: list[tuple[str, str, Text, Text]],
    hints: list[Text],
) -> None:
    terminal.line(f"{plain(delivery.message_id)}: {delivery.status}")
    for name, value in fields:
        terminal.line(Text.assemble(f"  {name + ':':<10} ", value))
    for clock, elapsed, kind, remark in entries:
        text = Text.assemble(f"  {clock}  {elapsed:>9}  ", kind, "  " if remark else "", remark)
        text.rstrip()
        terminal.line(text)
    for hint in hints:
        terminal.line(Text.assemble("  ", hint))


def _fields(delivery: Delivery, now: datetime) -> Iterator[tuple[str, Text]]:
    if not delivery.is_known:
        yield "Note", Text("only reports are known: another application sent it, or its record has expired", "yellow")
    if subject := delivery.summary.get("subject"):
        yield "Subject", Text(plain(str(subject)))
    if recipients := delivery.summary.get("recipients"):
        yield "To", Text(f"{recipients} recipient{'' if recipients == 1 else 's'}")
    if left_out := delivery.summary.get("left_out"):
        yield "Left out", Text(plain(f"ids too long for the proxy in {', '.join(map(str, left_out))}"), "yellow")
    if delivery.members:
        # The ids as the operator can ask for them; the addresses should not stay in a terminal's history.
        first, last = delivery.member_ids[0], delivery.member_ids[-1]
        yield "Messages", Text(plain(f"{first} to {last}, one for each" if first != last else first))
    if delivery.parent_id:
        yield "Part of", Text(plain(delivery.parent_id))
    yield "Status", Text.assemble((delivery.status.value, f"bold {STYLES[delivery.status]}"), _since(delivery, now))
    if delivery.reason:
        yield "Reason", Text(plain(delivery.reason))
    yield "Created", Text(f"{local_time(delivery.created_at)} ({ago(delivery.created_at, now)})")
    yield "Attempts", Text(str(delivery.attempts))
    parts = [("", delivery.server), ("tenant ", delivery.tenant_id), ("account ", delivery.account_id)]
    yield "Server", Text(", ".join(f"{name}{plain(value)}" for name, value in parts if value))
    if delivery.batch_code:
        yield "Batch", Text(plain(delivery.batch_code))
    if delivery.task_id:
        is_same = delivery.task_id == delivery.message_id
        yield "Task", Text("same as the message id", "dim") if is_same else Text(plain(delivery.task_id))


def _since(delivery: Delivery, now: datetime) -> str:
    if delivery.ended_at is not None:
        # The proxy's times are whole seconds: the end can seem to lie before the beginning.
        took = (delivery.ended_at - delivery.created_at).total_seconds()
        return f" {ago(delivery.ended_at, now)}" + (f", {span(took)} after it was created" if took >= 1 else "")
    return f" for {span((now - delivery.updated_at).total_seconds())}"


def _moment(entry: HistoryEntry, delivery: Delivery) -> tuple[str, str]:
    elapsed = (entry.report.at - delivery.created_at).total_seconds()
    clock = clock_time(entry.report.at)
    moment, created = local(entry.report.at), local(delivery.created_at)
    if moment.date() != created.date():
        clock = moment.strftime("%d %b " if moment.year == created.year else "%d %b %Y ") + clock
    return clock, f"+{span(elapsed)}"


def entry_text(terminal: Terminal, entry: HistoryEntry) -> tuple[Text, Text]:
    """A report of the history as (its kind, with a mark; what there is to say of it)."""
    report = entry.report
    mark = terminal.symbol("○", "-") if entry.is_stale else terminal.symbol("●", "*")
    kind = Text(f"{mark} {report.kind}", "dim" if entry.is_stale else STYLES[report.kind])
    details = (report.pec_event, report.bounce_type, report.code, report.reason)
    remarks = [Text(plain(detail)) for detail in details if detail]
    if report.retry_at is not None:
        remarks.append(Text(f"next try at {clock_time(report.retry_at)}"))
    if report.via != "proxy":
        remarks.append(Text(f"via {plain(report.via)}", "dim"))
    if entry.is_stale:
        remarks.append(Text("(stale: came too late to count)", "dim"))
    return kind, Text(" ").join(remarks)


def _dispatched_text(terminal: Terminal, entry: HistoryEntry) -> tuple[Text, Text]:
    """`entry_text`, and whether it has been dispatched to the application."""
    kind, remark = entry_text(terminal, entry)
    remarks = [remark] if remark else []
    if not entry.is_stale and not entry.is_dispatched:
        remarks.append(Text("(not dispatched yet: its handlers run, or will when its task is redelivered)", "yellow"))
    remarks += [Text(f"{terminal.symbol('✗', 'x')} {plain(name)} failed", "red") for name in entry.failed]
    return kind, Text(" ").join(remarks)


def _hints(terminal: Terminal, delivery: Delivery) -> list[Text]:
    if not any(failed_entries(delivery)):
        return []
    replay = f"{terminal.program} replay {plain(delivery.message_id)}"
    return [Text.assemble("Run the failed handlers again: ", (replay, "bold"))]
