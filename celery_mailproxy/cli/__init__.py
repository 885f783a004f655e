"""`celery -A proj mailproxy …`: commands for operators, as a plugin of Celery's own command line.

Celery imports this module at every `celery` command, so it is kept light: a command is loaded when it is called.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

import click
from celery.bin.base import handle_preload_options
from click_didyoumean import DYMMixin  # type: ignore[import-untyped]

from ..conf.hiding import hide_secrets
from .registration import register_in_workers

__all__ = ["mailproxy"]

register_in_workers()

# The worker must know `--mailproxy-listen` before its arguments are parsed, and this is the one module of ours that
# every `celery` command imports. What fails to import here must not take Celery's own commands away.
with suppress(ImportError):
    from ..receiver.listener import add_worker_option

    add_worker_option()

# For `celery report`, and for the worker's answer to `celery inspect conf`.
hide_secrets()

#: command → what it does, so that the overview loads none of them.
_COMMANDS = {
    "audit": "Compare the store with what the proxy has.",
    "bounces": "Read the bounce mailbox once.",
    "cancel": "Cancel emails that have not been sent.",
    "check": "Test each link of the chain and say how to fix what fails.",
    "dev": "Run a real proxy and an SMTP server to develop with.",
    "forget": "Erase a mail address from the store.",
    "migration": "Show the progress of a migration to the proxy.",
    "pause": "Let the proxy hold back a batch, or all of a tenant.",
    "prune": "Delete expired deliveries.",
    "receiver": "Receive delivery reports in a standalone process.",
    "reconcile": "Ask the proxy for emails that it has not reported on.",
    "replay": "Run failed handlers again.",
    "resume": "Let the proxy go on with what was paused.",
    "run-now": "Let the proxy send and report at once.",
    "send": "Send one email.",
    "setup": "Create or update the tenant and the SMTP account on the proxy.",
    "share": "Set the share of mail sent through the proxy.",
    "status": "Show a message's status.",
    "suppressed": "Show and change the suppression list.",
    "tail": "Follow mail events as they happen.",
}


class _LazyGroup(DYMMixin, click.Group):  # type: ignore[misc]
    """A group whose commands are modules of this package, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
@handle_preload_options  # type: ignore[untyped-decorator]
def mailproxy(ctx: click.Context, **preload_options: Any) -> None:
    """Send mail through genro-mail-proxy and follow its deliveries.

    Start with `celery -A proj mailproxy check`: it tests the settings, the broker, the workers, the store, the proxy
    and its route back to your application.
    """
