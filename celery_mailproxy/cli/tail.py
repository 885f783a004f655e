"""`celery -A proj mailproxy tail`."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import click
from celery import Celery
from kombu.exceptions import OperationalError
from rich.text import Text

from ..deliveries.report import Kind
from ..runtime import get_runtime
from .command import MailProxyCommand, app_of, shown_url
from .options import json_option
from .terminal import STYLES, Terminal, clock_time, from_seconds, plain

__all__ = ["command"]

#: Between two tries to reach a broker that has gone away.
_RECONNECT_SECONDS = (1.0, 2.0, 5.0, 10.0)

_KINDS = [kind.value for kind in Kind]

Show = Callable[[Mapping[str, Any]], None]


@click.command("tail", cls=MailProxyCommand)
@click.option("--status", "kinds", type=click.Choice(_KINDS), multiple=True, help="Only this kind; may be repeated.")
@json_option("Print one JSON object per line.")
@click.pass_context
def command(ctx: click.Context, kinds: tuple[str, ...], is_json: bool) -> None:
    """Follow mail events as they happen.

    Listens to the events that the dispatching workers send on Celery's event
    exchange, until you press Ctrl-C. For earlier events, use mailproxy status ID.

    \b
    Examples:
      celery -A proj mailproxy tail
      celery -A proj mailproxy tail --status error --status bounced --json
    """
    app = app_of(ctx)
    terminal = Terminal.of(ctx)
    if not get_runtime(app).settings.events:
        terminal.note("mail_proxy_events is False: workers with this setting send no events. Set it to True.")
    show = terminal.json if is_json else lambda event: terminal.line(_line(terminal, event))
    try:
        _tail(app, terminal, frozenset(kinds or _KINDS), show)
    except KeyboardInterrupt:
        # How it is meant to end.
        terminal.note("")


def _tail(app: Celery, terminal: Terminal, kinds: Collection[str], show: Show) -> None:
    """Capture forever; reconnect to a broker that goes away."""
    failures = 0

    def on_event(event: Mapping[str, Any]) -> None:
        if event.get("kind") in kinds:
            show(_fields(event))

    while True:
        with app.connection_for_read() as connection:
            try:
                connection.ensure_connection(max_retries=1, interval_start=0)
                terminal.note(f"Listening for mail events on {shown_url(connection)}. Press Ctrl-C to stop.")
                failures = 0
                _capture(app, connection, on_event)
            except (*connection.connection_errors, *connection.channel_errors, OperationalError) as exc:
                pause = _RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)]
                failures += 1
                terminal.note(f"Lost the broker ({plain(str(exc))}); trying again in {pause:g} s.")
                time.sleep(pause)


def _capture(app: Celery, connection: Any, on_event: Show) -> None:
    receiver = app.events.Receiver(
        connection,
        handlers={f"mail-{kind}": on_event for kind in _KINDS},
        # AMQP leaves the tasks' events out for us; brokers without topics send all.
        routing_key="mail.#",
        app=app,
    )
    # Otherwise kombu would wait forever, in silence, for a broker that goes away just now.
    receiver.connect_max_retries = 1
    receiver.capture(limit=None, timeout=None, wakeup=False)


def _fields(event: Mapping[str, Any]) -> dict[str, Any]:
    names = ("message_id", "kind", "at", "via", "task_id", "status", "hostname")
    return {name: event.get(name) for name in names}


def _line(terminal: Terminal, event: Mapping[str, Any]) -> Text:
    """`12:01:33  sent      6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d  now sent`."""
    kind = str(event["kind"])
    at = from_seconds(event["at"])
    line = Text.assemble(
        (clock_time(at), "dim"), "  ", (f"{kind:<9}", STYLES.get(kind, "")), plain(str(event["message_id"]))
    )
    status = event["status"]
    if status is None:
        line.append("  from another application", "dim")
    elif status != kind:
        line.append(f"  now {plain(str(status))}", "dim")
    if event["via"] not in (None, "proxy"):
        line.append(f"  via {plain(str(event['via']))}", "dim")
    if event["task_id"] not in (None, event["message_id"]):
        line.append(f"  task {plain(str(event['task_id']))}", "dim")
    return line
