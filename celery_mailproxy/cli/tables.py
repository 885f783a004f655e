"""Tables that several commands show: frames and colours for people, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from .terminal import Terminal, plain

__all__ = ["show_messages", "show_numbers"]


def show_numbers(terminal: Terminal, rows: Iterable[tuple[int, str, str]]) -> None:
    """Numbers with what they count: `(number, words, style)`. A zero is dim, whatever its style."""
    if terminal.is_plain:
        for number, words, _ in rows:
            terminal.line(f"{number:>6}  {words}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column()
    for number, words, style in rows:
        table.add_row(Text(str(number), style if number else "dim"), words)
    terminal.show(table)


def show_messages(terminal: Terminal, heading: str, rows: Iterable[tuple[str, str, str]]) -> None:
    """Messages with what became of them: `(message id, words, style)`; `heading` is that of the words."""
    if terminal.is_plain:
        for message_id, words, _ in rows:
            terminal.line(f"{plain(message_id)}  {words}")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("Message", overflow="fold")
    table.add_column(heading)
    for message_id, words, style in rows:
        table.add_row(plain(message_id), Text(words, style))
    terminal.show(table)
