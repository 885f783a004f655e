"""`celery mailproxy dev`."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack

import click

from ..errors import ConfigurationError
from ..testing.mail_sink import MailSink, ReceivedMail
from ..testing.real_proxy import RealProxy
from .command import MailProxyCommand
from .stopping import stop_signals
from .terminal import Terminal, clock_now

__all__ = ["command"]

#: What is used unless the environment says otherwise. Only this machine can connect.
_DEFAULTS: Mapping[str, str] = {
    # No secrets: see above.
    "MAIL_PROXY_TOKEN": "dev-token",  # nosec B105
    "MAIL_PROXY_TENANT": "shop",
    "MAIL_PROXY_ACCOUNT": "main",
    "MAIL_PROXY_SYNC_TOKEN": "dev-sync-token",  # nosec B105
}

#: How often it is looked whether somebody has pressed Ctrl-C while no mail arrives.
_LOOK_SECONDS = 0.25


@click.command("dev", cls=MailProxyCommand)
@click.option("--port", default=8000, show_default=True, help="Port of the proxy.")
@click.option("--smtp-port", default=1025, show_default=True, help="Port of the SMTP server.")
@click.option(
    "--callback-url",
    default="http://localhost:9100",
    show_default=True,
    metavar="URL",
    help="Where your worker or web application receives delivery reports.",
)
@click.option(
    "--api",
    type=click.Choice(["entities", "commands"]),
    default="entities",
    show_default=True,
    help="The proxy's release: 0.7.0 speaks entities, 0.5.0 commands.",
)
@click.pass_context
def command(ctx: click.Context, port: int, smtp_port: int, callback_url: str, api: str) -> None:
    """Run a real proxy and an SMTP server to develop with.

    Starts genro-mail-proxy and an SMTP server that delivers nothing, with a
    tenant and an account, prints the variables to export, and shows each email
    that arrives. Needs no application. The first run installs the proxy, which
    takes about half a minute. Ctrl-C ends both; the proxy forgets its emails.

    \b
    Try: an address that begins with later is deferred, one with spam refused.

    \b
    Example:
      celery mailproxy dev --callback-url http://localhost:8080
    """
    terminal = Terminal.of(ctx)
    for option, number in (("--port", port), ("--smtp-port", smtp_port)):
        _require_free(number, option)
    values = {name: os.environ.get(name) or default for name, default in _DEFAULTS.items()}
    with ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        sink = stack.enter_context(MailSink(port=smtp_port))
        proxy = stack.enter_context(
            RealProxy(
                "entities" if api == "entities" else "commands",
                api_token=values["MAIL_PROXY_TOKEN"],
                port=port,
                progress=terminal.note,
            )
        )
        tenant_id = values["MAIL_PROXY_TENANT"]
        proxy.add_tenant(tenant_id, client_base_url=callback_url, bearer_token=values["MAIL_PROXY_SYNC_TOKEN"])
        proxy.add_account(tenant_id, values["MAIL_PROXY_ACCOUNT"], sink.host, sink.port)
        terminal.line(f"genro-mail-proxy at {proxy.url}, SMTP server at {sink.host}:{sink.port}.")
        terminal.line(f"It reports deliveries to {callback_url}. Export these where your application runs:")
        terminal.line()
        for name, value in {"MAIL_PROXY_URL": f"http://localhost:{port}", **values}.items():
            terminal.line(f"export {name}={value}")
        terminal.line()
        terminal.note("Each email that arrives is shown below. Press Ctrl-C to stop.")
        number = 0
        while not stop.is_set():
            try:
                mails = sink.wait_for(number + 1, timeout_seconds=_LOOK_SECONDS)
            except TimeoutError:
                continue
            for mail in mails[number:]:
                terminal.line(_line(mail))
            number = len(mails)


def _line(mail: ReceivedMail) -> str:
    subject = str(mail.message.get("Subject") or "(no subject)")
    return f"{clock_now()}  to {', '.join(mail.rcpt_to)}  {subject}"


def _require_free(port: int, option: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do it: what the last run has left behind is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as exc:
            raise ConfigurationError(f"{option} must be a free port, got {port}: {exc}. Choose another.") from exc
