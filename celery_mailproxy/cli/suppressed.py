"""`celery -A proj mailproxy suppressed`: the suppression list, as operators see and change it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

import click
from rich.table import Table
from rich.text import Text

from ..deliveries.report import utcnow
from ..deliveries.suppression import Cause, SuppressedAddress
from ..mail.addresses import address_key
from ..runtime import Runtime, get_runtime
from .command import MailProxyCommand, app_of
from .options import json_option
from .terminal import STYLES, Terminal, local_time, plain

__all__ = ["command"]

#: How many addresses go into the store at once.
_AT_ONCE = 500

_EPILOG = "ADDRESS is compared without regard to case; - reads addresses from standard input, one a line."


@click.group("suppressed", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show and change the suppression list.

    With mail_proxy_suppression, addresses that bounced hard or complained get
    no more mail. Their emails end as suppressed before they are submitted.

    \b
    Examples:
      celery -A proj mailproxy suppressed list
      celery -A proj mailproxy suppressed add ann@example.com
      celery -A proj mailproxy suppressed add --file unsubscribed.txt
      celery -A proj mailproxy suppressed remove ann@example.com
    """


def _addresses(decorated: Any) -> Any:
    given = click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
    from_file = click.option(
        "--file", "file", type=click.File(encoding="utf-8"), metavar="FILE", help="Read addresses from it, one a line."
    )
    return given(from_file(json_option()(decorated)))


@command.command("list", cls=MailProxyCommand)
@click.option("--search", metavar="TEXT", default="", help="Show only addresses that contain TEXT.")
@click.option("--cause", type=click.Choice([each.value for each in Cause]), help="Show only those of this cause.")
@json_option("Print one JSON object per entry, one per line.")
@click.pass_context
def list_command(ctx: click.Context, search: str, cause: str | None, is_json: bool) -> None:
    """Show the addresses on the list, and why they are there."""
    runtime, terminal = _opened(ctx)
    entries = [
        entry
        for page in runtime.store.suppression.pages()
        for entry in page
        if search.lower() in entry.address and cause in (None, entry.cause.value)
    ]
    entries.sort(key=lambda entry: (entry.address, entry.at))
    if is_json:
        for entry in entries:
            terminal.json(entry.to_json())
    elif entries:
        _show(terminal, entries)
    else:
        terminal.line("No such address is on the list." if search or cause else "The list is empty.")


@command.command("add", cls=MailProxyCommand, epilog=_EPILOG)
@_addresses
@click.pass_context
def add_command(ctx: click.Context, addresses: tuple[str, ...], file: IO[str] | None, is_json: bool) -> None:
    """Put addresses on the list.

    An address that is there stays as it is. Exits with code 1 if one of those
    given is no mail address; the others are added all the same.
    """
    good, bad = _read(ctx, addresses, file)
    runtime, terminal = _opened(ctx)
    now = utcnow()
    added = 0
    for start in range(0, len(good), _AT_ONCE):
        some = good[start : start + _AT_ONCE]
        entries = [SuppressedAddress(address=each, cause=Cause.ADDED, at=now) for each in some]
        added += runtime.store.suppression.add(entries)
    _say(terminal, {"added": added, "known": len(good) - added}, bad, is_json=is_json)
    if bad:
        ctx.exit(1)


@command.command("remove", cls=MailProxyCommand, epilog=_EPILOG)
@_addresses
@click.pass_context
def remove_command(ctx: click.Context, addresses: tuple[str, ...], file: IO[str] | None, is_json: bool) -> None:
    """Take addresses off the list, whatever put them there.

    Exits with code 1 if one of those given was not on it, or is no mail address.
    """
    good, bad = _read(ctx, addresses, file)
    runtime, terminal = _opened(ctx)
    removed = 0
    for start in range(0, len(good), _AT_ONCE):
        some = good[start : start + _AT_ONCE]
        removed += len({each.address for each in runtime.store.suppression.find(some)})
        runtime.store.suppression.remove(some)
    missing = len(good) - removed
    _say(terminal, {"removed": removed, "unknown": missing}, bad, is_json=is_json)
    if bad or missing:
        ctx.exit(1)


def _opened(ctx: click.Context) -> tuple[Runtime, Terminal]:
    runtime, terminal = get_runtime(app_of(ctx)), Terminal.of(ctx)
    if not runtime.settings.suppression:
        terminal.note("mail_proxy_suppression is off: emails are sent whether their recipients are on the list or not.")
    return runtime, terminal


def _read(ctx: click.Context, addresses: Sequence[str], file: IO[str] | None) -> tuple[list[str], list[str]]:
    """The addresses, each once; and where one stands that cannot be read: it is not shown."""
    given: list[tuple[str, str]] = []
    for number, text in enumerate(addresses, 1):
        if text == "-":
            given += _lines("standard input", sys.stdin)
        else:
            given.append((f"argument {number}", text))
    if file is not None:
        given += _lines("file", file)
    if not addresses and file is None:
        raise click.UsageError("Give addresses, or --file.", ctx)
    keys = [(place, address_key(text)) for place, text in given]
    good = dict.fromkeys(key for _, key in keys if key is not None)
    return list(good), [place for place, key in keys if key is None]


def _lines(name: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
    return [(f"{name}, line {number}", line) for number, line in stripped if line and not line.startswith("#")]


def _say(terminal: Terminal, numbers: dict[str, int], bad: Sequence[str], *, is_json: bool) -> None:
    if is_json:
        terminal.json({**numbers, "invalid": list(bad)})
        return
    words = {"added": "added", "known": "on the list already", "removed": "removed", "unknown": "not on the list"}
    terminal.line(", ".join(f"{number:,} {words[name]}" for name, number in numbers.items()) + ".")
    for place in bad:
        terminal.error(f"{place} is no mail address.")


def _show(terminal: Terminal, entries: Sequence[SuppressedAddress]) -> None:
    rows = [
        (plain(each.address), each.cause.value, local_time(each.at), plain(each.message_id or "")) for each in entries
    ]
    if terminal.is_plain:
        for row in rows:
            terminal.line("  ".join(row).rstrip())
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("Address", "Cause", "Since", "Message"):
        table.add_column(name, overflow="fold")
    for address, cause, since, message_id in rows:
        table.add_row(address, Text(cause, STYLES.get(cause, "")), since, message_id)
    terminal.show(table)
