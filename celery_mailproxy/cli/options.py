"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["json_option", "sender_options", "timeout_option"]

Decorated = TypeVar("Decorated", bound="Callable[..., Any] | click.Command")


def sender_options(command: Decorated) -> Decorated:
    """`--from`, `--tenant` and `--account`: who sends, as `from_email`, `tenant_id` and `account_id`."""
    sender = "The sender of the email.  [default: mail_proxy_from_email]"
    tenant = "Use this tenant instead of the configured one."
    account = "Use this SMTP account instead of the configured one."
    command = click.option("--account", "account_id", metavar="ID", help=account)(command)
    command = click.option("--tenant", "tenant_id", metavar="ID", help=tenant)(command)
    return click.option("--from", "from_email", metavar="ADDRESS", help=sender)(command)


def timeout_option(text: str) -> Callable[[Decorated], Decorated]:
    """The option `--timeout`, as the argument `timeout_seconds`, of a command that follows a mail."""
    return click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(min=0),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help=text,
    )


def json_option(text: str = "Print one JSON object.") -> Callable[[Decorated], Decorated]:
    """The option `--json`, as the argument `is_json`."""
    return click.option("--json", "is_json", is_flag=True, help=text)
