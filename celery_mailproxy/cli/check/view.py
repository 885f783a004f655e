"""What `check` found, as the operator sees it: a table in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from ..terminal import Terminal
from .links import Link, Outcome

__all__ = ["show_links", "show_verdict"]

_LOOKS = {
    Outcome.OK: ("✓", "green"),
    Outcome.WARNING: ("!", "yellow"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.SKIPPED: ("·", "dim"),
}

#: The width of the longest outcome and of the longest name of a link.
_OUTCOME_WIDTH, _NAME_WIDTH = 7, 14

#: Wider lines are hard to follow with the eye.
_MAX_WIDTH = 120


def show_links(terminal: Terminal, links: Sequence[Link], *, with_header: bool = True) -> None:
    """One row a link, and below what was found what to do."""
    is_several = len({link.server for link in links if link.server}) > 1
    if terminal.is_plain:
        for link in links:
            _show_plain(terminal, link, with_server=is_several)
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="dim",
        show_header=with_header,
        pad_edge=False,
        width=min(terminal.out.width, _MAX_WIDTH),
    )
    table.add_column("", no_wrap=True)
    table.add_column("Link", no_wrap=True)
    table.add_column("Found", overflow="fold", ratio=1)
    server: str | None = None
    for link in links:
        if is_several and link.server != server:
            table.add_section()
            table.add_row("", Text(link.server or "", "bold"), "")
        server = link.server
        mark, style = _LOOKS[link.outcome]
        sign = Text(f"{terminal.symbol(mark, ' ')} {link.outcome}", style)
        table.add_row(sign, Text(link.name, _text_style(link)), _found(terminal, link))
    terminal.show(table)


def _found(terminal: Terminal, link: Link) -> Text:
    found = Text(link.found, _text_style(link))
    if link.remedy:
        arrow = terminal.symbol("→", "->")
        found.append(f"\n{arrow} {link.remedy}", "bold" if link.outcome is Outcome.FAILED else "yellow")
    return found


def _text_style(link: Link) -> str:
    return "dim" if link.outcome is Outcome.SKIPPED else ""


def _show_plain(terminal: Terminal, link: Link, *, with_server: bool) -> None:
    name = f"{link.server}: {link.name}" if with_server and link.server else link.name
    terminal.line(f"{link.outcome.value:<{_OUTCOME_WIDTH}}  {name:<{_NAME_WIDTH}}  {link.found}")
    if link.remedy:
        terminal.line(f"{'':<{_OUTCOME_WIDTH}}  {'':<{_NAME_WIDTH}}  -> {link.remedy}")


def show_verdict(terminal: Terminal, links: Sequence[Link]) -> None:
    """The last line: `11 links: 9 ok, 1 warning, 1 failed.`"""
    counts = Counter(link.outcome for link in links)
    words = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
    style = "green"
    if counts[Outcome.FAILED] or counts[Outcome.WARNING]:
        style = "red" if counts[Outcome.FAILED] else "yellow"
    terminal.line(Text(f"{len(links)} links: {', '.join(words)}.", f"bold {style}"))
