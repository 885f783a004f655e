"""A plan for a proxy, as the administrator sees it: a table in a terminal, plain lines in a pipe."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from ..proxy.provisioning import Plan, Row, State
from .terminal import Terminal, plain

__all__ = ["show_plan"]

_LOOKS = {
    State.SAME: ("=", "dim"),
    State.CHANGE: ("~", "yellow"),
    State.NEW: ("+", "green"),
    State.RESEND: ("~", "yellow"),
}

#: Wider lines are hard to follow with the eye.
_MAX_WIDTH = 110


def show_plan(terminal: Terminal, plan: Plan) -> None:
    """One row a field: what it is now, and what is wanted."""
    if terminal.is_plain:
        for row in plan.rows:
            now = f" (now {plain(row.now)})" if row.state is State.CHANGE and row.now else ""
            terminal.line(f"{row.state.value:<6}  {row.subject:<7}  {row.name:<22}  {plain(row.wanted)}{now}".rstrip())
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False, width=min(terminal.out.width, _MAX_WIDTH))
    table.add_column("", no_wrap=True)
    table.add_column("Field", no_wrap=True)
    table.add_column("Now", overflow="fold", ratio=1)
    table.add_column("Wanted", overflow="fold", ratio=1)
    subject: str | None = None
    for row in plan.rows:
        if row.subject != subject:
            table.add_section()
        table.add_row(*_cells(row, with_subject=row.subject != subject))
        subject = row.subject
    terminal.show(table)


def _cells(row: Row, *, with_subject: bool) -> tuple[Text, Text, Text, Text]:
    mark, style = _LOOKS[row.state]
    name = row.subject if with_subject else f"  {row.name}"
    wanted_style = "" if row.state is State.SAME else style
    cell_style = "bold" if with_subject else "dim" if row.state is State.SAME else ""
    return (
        Text(f"{mark} {row.state.value}", style),
        Text(name, cell_style),
        Text(plain(row.now), "dim"),
        Text(plain(row.wanted), "dim" if row.state is State.SAME and not with_subject else wanted_style),
    )
