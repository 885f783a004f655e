"""What `pause`, `resume` and `run-now` share: whose emails, and how the answer is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..conf.settings import DEFAULT_SERVER
from ..control.pausing import Pause
from .terminal import Terminal

__all__ = ["batch_option", "place_options", "show_pause"]

Decorated = TypeVar("Decorated", bound="Callable[..., Any] | click.Command")


def place_options(command: Decorated) -> Decorated:
    """`--tenant` and `--server`: whose emails, and at which proxy."""
    tenant = "Use this tenant instead of the configured one."
    server = "Use this one of mail_proxy_servers."
    command = click.option("--server", metavar="NAME", default=DEFAULT_SERVER, help=server)(command)
    return click.option("--tenant", metavar="ID", help=tenant)(command)


def batch_option(command: Decorated) -> Decorated:
    """`--batch`, as the argument `batch_code`."""
    text = "The emails with this batch_code only."
    return click.option("--batch", "batch_code", metavar="CODE", help=text)(command)


def show_pause(terminal: Terminal, answer: Pause, *, is_json: bool) -> None:
    """Say what is paused, and how many emails wait."""
    if is_json:
        terminal.json(
            {
                "tenant_id": answer.tenant_id,
                "batch_code": answer.batch_code,
                "is_paused": answer.is_paused,
                "paused": list(answer.paused),
                "pending": answer.pending,
            }
        )
        return
    what = f"tenant {answer.tenant_id}"
    if answer.batch_code is not None:
        what = f"batch {answer.batch_code} of {what}"
    state = "paused" if answer.is_paused else "not paused"
    number = "more emails than can be counted" if answer.pending is None else f"{answer.pending} emails"
    terminal.line(f"{what}: {state}, {number} pending at the proxy")
