"""Where a management command writes: as the commands of `celery mailproxy` do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO, cast

from django.core.management.base import BaseCommand

from ...cli.terminal import SafeConsole, Terminal

__all__ = ["terminal_of"]


def terminal_of(command: BaseCommand, options: Mapping[str, Any]) -> Terminal:
    """The command's own streams; `--no-color`, `--force-color` and the variable NO_COLOR are respected."""
    look: dict[str, Any] = {
        # None lets rich look at NO_COLOR itself.
        "no_color": True if options.get("no_color") else None,
        "force_terminal": True if options.get("force_color") else None,
        "highlight": False,
        "markup": False,
        "emoji": False,
    }
    # The streams inside: Django's wrapper ends each piece of a line with a line break, and knows no encoding.
    out, err = (cast(TextIO, getattr(stream, "_out", stream)) for stream in (command.stdout, command.stderr))
    return Terminal(out=SafeConsole(file=out, **look), err=SafeConsole(file=err, **look))
