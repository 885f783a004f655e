"""`celery -A proj mailproxy share`."""

from __future__ import annotations

import click

from ..migration.routing import Router, get_router
from .command import MailProxyCommand, app_of
from .terminal import Terminal

__all__ = ["command", "share_text"]


@click.command("share", cls=MailProxyCommand)
@click.argument("share", type=click.FloatRange(0, 1), required=False)
@click.option("--reset", is_flag=True, help="Let the share of the settings hold again.")
@click.pass_context
def command(ctx: click.Context, share: float | None, reset: bool) -> None:
    """Set the part of the mails that goes by the proxy, from 0 to 1, for all workers.

    It holds within five seconds, and until it is set anew; without SHARE it is
    shown. Mails that have begun keep their way.

    \b
    Examples:
      celery -A proj mailproxy share 0.5
      celery -A proj mailproxy share --reset
    """
    if reset and share is not None:
        raise click.UsageError("SHARE and --reset exclude each other.")
    router = get_router(app_of(ctx))
    if reset or share is not None:
        router.set_share(share)
    terminal = Terminal.of(ctx)
    terminal.line(share_text(router))
    if router.settings.route is not None:
        terminal.note("mail_proxy_migration['route'] decides first; this is the share of what it leaves open.")


def share_text(router: Router) -> str:
    """`share 0.5, set by operators (the settings say 0.25)`."""
    configured = f"{router.settings.share:g}"
    operators = router.operators_share()
    if operators is None:
        return f"share {configured}, from the settings"
    return f"share {operators:g}, set by operators (the settings say {configured})"
