"""The end of the move: which way each mail went, and whether it arrived once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["show_counts"]

#: Those that the new side never saw.
_OLD_PART = "sent"

#: Which part of a step's mails is sent through the proxy, where that is certain: of a quarter, about one is.
_BY_PROXY = {_OLD_PART: 0, "refused": 1, "queued": 1, "share 0": 0, "back to 0": 0, "share 100": 1}


def show_counts(
    console: Console, folder: Path, parts: Mapping[str, range], arrived: Mapping[str, int], *, seconds: float
) -> int:
    """Print the table; 0 if every mail arrived once, else 1."""
    ways = _ways(folder / "shop.sqlite3")
    table = Table(title="\nWhat became of the mails", title_justify="left")
    for column in ("part", "mails", "by the proxy", "by SMTP", "arrived", "missing", "twice"):
        table.add_column(column, justify="left" if column == "part" else "right")
    problems = strays = 0
    for part, numbers in parts.items():
        recipients = [f"customer-{number}@example.com" for number in numbers]
        counts = Counter(min(arrived.get(recipient, 0), 2) for recipient in recipients)
        proxied = sum(ways.get(recipient) == "proxy" for recipient in recipients)
        by_smtp = sum(ways.get(recipient) == "legacy" for recipient in recipients)
        if part == _OLD_PART:
            by_smtp = len(recipients)
        table.add_row(part, *map(str, (len(numbers), proxied, by_smtp, len(numbers) - counts[0], counts[0], counts[2])))
        problems += counts[0] + counts[2]
        strays += part in _BY_PROXY and proxied != _BY_PROXY[part] * len(recipients)
    console.print(table)
    letters = _dead_letters(folder / "shop.sqlite3")
    total = sum(map(len, parts.values()))
    if problems or letters or strays:
        went_wrong = f"{problems} of {total} mails did not arrive once; {letters} dead letters"
        console.print(f"[red]{went_wrong}; {strays} parts did not all go the way that they were to[/]")
        return 1
    console.print(f"[green]Every mail arrived once: {total} in {seconds:.0f} s.[/]")
    return 0


def _ways(database: Path) -> dict[str, str]:
    """Recipient → `proxy` or `legacy`, as the new side's log of mails has it."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT recipients, server FROM celery_mailproxy_emaillog").fetchall()
    return {recipient: "legacy" if server == "legacy" else "proxy" for recipient, server in rows}


def _dead_letters(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM celery_mailproxy_drain_deadletter").fetchone()
    return int(number)
