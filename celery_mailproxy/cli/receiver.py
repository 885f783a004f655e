"""`celery -A proj mailproxy receiver`."""

from __future__ import annotations

import logging

import click
from celery.bin.base import LOG_LEVEL

from ..receiver.default import receiver_of
from ..receiver.listener import ENVIRONMENT_VARIABLE, parse_address
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of
from .stopping import stop_signals
from .terminal import Terminal

__all__ = ["command"]


@click.command("receiver", cls=MailProxyCommand)
@click.option(
    "--listen",
    default="127.0.0.1:9100",
    show_default=True,
    envvar=ENVIRONMENT_VARIABLE,
    show_envvar=True,
    metavar="HOST:PORT",
    help="Address to listen on; :9100 is every interface, port 0 a free port.",
)
@click.option("-l", "--loglevel", type=LOG_LEVEL, default="INFO", show_default=True, help="Logging level.")
@click.pass_context
def command(ctx: click.Context, listen: str, loglevel: int) -> None:
    """Receive delivery reports in a standalone process.

    Runs in the foreground until Ctrl-C or SIGTERM. To save a process, let a
    worker receive the reports (celery -A proj worker --mailproxy-listen
    HOST:PORT), or mount celery_mailproxy.receiver.wsgi or .asgi in your web
    application.

    \b
    Example:
      celery -A proj mailproxy receiver --listen 0.0.0.0:9100
    """
    app = app_of(ctx, with_handlers=True)
    host, port = parse_address(listen, option="--listen")
    receiver = receiver_of(get_runtime(app))
    # Not at the top: its server is optional, and where it is missing, that is an error of this command in one line.
    from ..receiver.server import ReportServer

    server = ReportServer(receiver, host=host, port=port)
    app.log.setup(loglevel=loglevel, redirect_stdouts=False, colorize=False if ctx.obj.no_color else None)
    # Before it starts, so that no moment is left in which a signal would cut a request off.
    with stop_signals() as stop:
        server.start()
        terminal = Terminal.of(ctx)
        for url in server.urls:
            terminal.line(f"Receiving delivery reports at {url.rstrip('/')}{receiver.report_path}")
        terminal.note("Press Ctrl-C to stop.")
        stop.wait()
        server.stop()
    logging.getLogger(__name__).info("receiver stopped")
