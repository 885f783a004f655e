"""`celery -A proj mailproxy check`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import click
from rich.text import Text

from ...deliveries.delivery import Status
from ...runtime import get_runtime
from ..command import MailProxyCommand, app_of, timeout_option
from ..follow import Followed, follow, follow_on
from ..terminal import Terminal, plain
from .checkup import Checkup, Request
from .links import Outcome
from .view import show_links, show_verdict

__all__ = ["command"]


def _http_url(ctx: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"must be a URL like http://127.0.0.1:9100/mail-proxy/sync, got {value!r}")
    return value


@click.command("check", cls=MailProxyCommand)
@click.option("--server", metavar="NAME", help="Only this one of mail_proxy_servers.")
@click.option("--tenant", metavar="ID", help="Check for this tenant, not the configured one.")
@click.option("--account", metavar="ID", help="Check for this SMTP account, not the configured one.")
@click.option("--send-to", metavar="ADDRESS", help="Send a real mail there, and wait until its delivery is reported.")
@click.option("--from", "from_email", metavar="ADDRESS", help="Its sender.  [default: mail_proxy_from_email]")
@click.option(
    "--callback-url",
    metavar="URL",
    callback=_http_url,
    help="The receiver's address as seen from here, path and all.",
)
@timeout_option("How long to wait for the mail's report.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, /, *, send_to: str | None, is_json: bool, **asked: Any) -> None:
    """Test each link of the chain, and say how to mend what fails.

    The application and its settings, the broker, the workers, the store; for
    each proxy its URL, API, token, tenant and account; and the way back: where
    the proxy posts its reports, with which token, and who answers there.
    Exit code 0 only if nothing failed. No secret is shown.

    \b
    Examples:
      celery -A proj mailproxy check
      celery -A proj mailproxy check --send-to me@example.com
    """
    terminal = Terminal.of(ctx)
    checkup = Checkup(app_of(ctx), Request(**asked))
    _test(checkup, terminal, is_json=is_json)
    if send_to:
        _send(checkup, terminal, send_to, is_json=is_json)
    has_failed = any(link.outcome is Outcome.FAILED for link in checkup.found)
    if is_json:
        terminal.json({"ok": not has_failed, "links": [link.to_json() for link in checkup.found]})
    else:
        show_verdict(terminal, checkup.found)
    if has_failed:
        ctx.exit(1)


def _test(checkup: Checkup, terminal: Terminal, *, is_json: bool) -> None:
    is_watched = not is_json and not terminal.is_plain
    with terminal.out.status("Checking …") if is_watched else nullcontext() as status:
        for link in checkup.links():
            if status is not None:
                status.update(Text(f"Checking … {link.name} is {link.outcome}"))
    if not is_json:
        show_links(terminal, checkup.found)


def _send(checkup: Checkup, terminal: Terminal, address: str, *, is_json: bool) -> None:
    def watch(message_id: str) -> Followed:
        store = get_runtime(checkup.app).store
        wait: Callable[..., Followed] = follow if is_json else partial(follow_on, terminal)
        return wait(store, message_id, timeout_seconds=checkup.request.timeout_seconds, stop_at=_is_settled)

    if not is_json:
        terminal.line(f"Sending a mail to {plain(address)}")
    links = list(checkup.round_trips(address, watch))
    if not is_json:
        show_links(terminal, links, with_header=False)


def _is_settled(status: Status) -> bool:
    # The proxy's next try is minutes away: a deferred mail has told enough.
    return status.is_end or status is Status.DEFERRED
