"""`Terminal`: where the commands write. Colours and frames for people, plain lines for a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..errors import visible

__all__ = [
    "STYLES",
    "SafeConsole",
    "Terminal",
    "ago",
    "clock_now",
    "clock_time",
    "from_seconds",
    "json_line",
    "local",
    "local_time",
    "plain",
    "span",
]

#: The colour of a status, and of a kind of report.
STYLES = {
    "new": "dim",
    "queued": "cyan",
    "deferred": "yellow",
    "sent": "green",
    "error": "red",
    "bounced": "red",
    "rejected": "red",
    "complained": "red",
    "cancelled": "dim",
    "expired": "yellow",
    "suppressed": "yellow",
    "overdue": "yellow",
    "pec": "magenta",
}


class SafeConsole(Console):
    """A console on which no text steers the terminal, whoever wrote it: an SMTP server, the wire, an argument."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # What is no text is rich's own.
            yield segment if segment.control else Segment(_steerless(segment.text), segment.style)


def _steerless(text: str) -> str:
    """The text with a mark of one column in place of each character that steers; where lines end, they still do."""
    if text.isprintable():
        return text
    return "".join(char if char == "\n" or visible(char) == char else "\ufffd" for char in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """Standard output and standard error. `is_plain` where nobody watches: no frames, nothing cut or wrapped.

    `program` is how the operator called us, for commands that he may copy.
    """

    out: Console
    err: Console
    program: str = "celery -A proj mailproxy"

    @classmethod
    def of(cls, ctx: click.Context) -> Terminal:
        """The terminal of a command: `celery --no-color` and the variable NO_COLOR are respected."""
        # None lets rich look at NO_COLOR itself.
        no_color = True if getattr(ctx.obj, "no_color", False) else None
        options: dict[str, Any] = {"no_color": no_color, "highlight": False, "markup": False, "emoji": False}
        app = ctx.find_root().params.get("app")
        program = f"celery -A {app} mailproxy" if isinstance(app, str) else "celery -A proj mailproxy"
        return cls(out=SafeConsole(**options), err=SafeConsole(stderr=True, **options), program=program)

    @property
    def is_plain(self) -> bool:
        return not self.out.is_terminal

    def show(self, *renderables: RenderableType) -> None:
        """Print for people."""
        self.out.print(*renderables)

    def line(self, text: str | Text = "") -> None:
        """One line; in a pipe it stays one, however long."""
        self.out.print(visible(text) if isinstance(text, str) else text, soft_wrap=self.is_plain)

    def json(self, value: Any) -> None:
        """One JSON document on one line, for programs."""
        click.echo(json_line(value), file=self.out.file)

    def note(self, text: str) -> None:
        """A remark beside the output proper, on standard error."""
        self.err.print(Text(visible(text), "dim"), soft_wrap=not self.err.is_terminal)

    def error(self, text: str) -> None:
        message = Text.assemble(("Error: ", "bold red"), (plain(text), "red"))
        self.err.print(message, soft_wrap=not self.err.is_terminal)

    def symbol(self, symbol: str, instead: str) -> str:
        """The symbol, or something in ASCII where the terminal has no other characters."""
        return symbol if self.out.encoding.lower().startswith("utf") else instead


def json_line(value: Any) -> str:
    """One JSON document on one line: readable, and with escapes for what a terminal would take for a command."""
    return visible(json.dumps(value, ensure_ascii=False))


def plain(text: str) -> str:
    """The text on one line, without characters that would steer the terminal: an SMTP server wrote it."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def local_time(at: datetime) -> str:
    """A moment as the operator's clock shows it: `2026-11-22 08:29:45 CET`."""
    return local(at).strftime("%Y-%m-%d %H:%M:%S %Z")


def from_seconds(seconds: Any) -> datetime:
    """The moment of unix seconds that came from elsewhere; 1970 where they make no sense."""
    try:
        return datetime.fromtimestamp(float(seconds or 0), timezone.utc)
    except (OverflowError, OSError, TypeError, ValueError):
        return datetime.fromtimestamp(0, timezone.utc)


def clock_time(at: datetime) -> str:
    return local(at).strftime("%H:%M:%S")


def clock_now() -> str:
    return clock_time(datetime.now(timezone.utc))


def local(at: datetime) -> datetime:
    """The moment in the operator's time zone, or in UTC where the system knows no local time so early or late."""
    try:
        return at.astimezone()
    except (OverflowError, OSError, ValueError):
        return at.astimezone(timezone.utc)


def span(seconds: float) -> str:
    """A duration in its two largest units or less: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, small_size, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small_size
            return f"{whole // size} {unit} {rest} {small_unit}" if rest else f"{whole // size} {unit}"
    raise AssertionError(seconds)


def ago(at: datetime, now: datetime) -> str:
    return f"{span((now - at).total_seconds())} ago"
