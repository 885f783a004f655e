"""`manage.py mailproxy_tail`."""

from __future__ import annotations

import json
import re
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections
from rich.text import Text

from celery_mailproxy.cli.terminal import STYLES, Terminal, local_time, plain
from celery_mailproxy.conf.settings import DJANGO_STORE, load_settings
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.django.log.event_feed import EventFeed
from celery_mailproxy.django.log.fields import aware
from celery_mailproxy.django.log.models import EmailLogEvent
from celery_mailproxy.django.log.routing import log_alias
from celery_mailproxy.django.log.row_texts import inexact
from celery_mailproxy.django.management.terminals import terminal_of
from celery_mailproxy.errors import ConfigurationError

#: Shown before the first new one, where no --since says how many.
_EARLIER = 10

#: Between two tries to reach a database that has gone away.
_RECONNECT_SECONDS = 5.0

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Show = Callable[[EmailLogEvent], None]


class Command(BaseCommand):
    """Shows delivery events."""

    help = (
        "Show delivery events from the log: the last ones, and new ones as they come. Ctrl-C ends it. "
        "'celery mailproxy tail' shows the same from the broker, for any store."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since", type=_moment, metavar="TIME", help="begin there: 30s, 10m, 2h, 1d ago, or 2030-01-31T09:00"
        )
        parser.add_argument("--tenant", metavar="ID", help="only this tenant's emails")
        parser.add_argument("--once", action="store_true", help="show what there is, and end")
        parser.add_argument(
            "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="how often to look (%(default)g)"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        terminal = terminal_of(self, options)
        _note_other_store(terminal)
        show: Show = self._show_json if options["json"] else lambda event: terminal.line(_line(event))
        feed = EventFeed(tenant_id=options["tenant"])
        try:
            _show_all(feed.since(options["since"]) if options["since"] else feed.newest(_EARLIER), show)
        except Error as exc:
            raise CommandError(f"the log cannot be read ({plain(str(exc))}). Has manage.py migrate been run?") from exc
        if options["once"]:
            return
        try:
            _follow(feed, terminal, show, interval_seconds=options["interval"])
        except KeyboardInterrupt:
            # The normal end.
            terminal.note("")

    def _show_json(self, event: EmailLogEvent) -> None:
        self.stdout.write(json.dumps(_fields(event)))
        self.stdout.flush()


def _follow(feed: EventFeed, terminal: Terminal, show: Show, *, interval_seconds: float) -> None:
    """Show what comes, for ever; a database that goes away is asked again until it is back."""
    while True:
        try:
            _show_all(feed.following(), show)
            time.sleep(interval_seconds)
        except Error as exc:
            terminal.note(f"The database is gone ({plain(str(exc))}); trying again in {_RECONNECT_SECONDS:g} s.")
            connections[log_alias()].close()
            time.sleep(_RECONNECT_SECONDS)


def _show_all(events: Iterable[EmailLogEvent], show: Show) -> None:
    for event in events:
        show(event)


def _note_other_store(terminal: Terminal) -> None:
    try:
        store = load_settings(current_app).store
    except ConfigurationError:
        return
    if store != DJANGO_STORE:
        terminal.note(f"mail_proxy_store is not {DJANGO_STORE}: deliveries are kept elsewhere, and this log gets none.")


def _fields(event: EmailLogEvent) -> dict[str, Any]:
    return {
        "message_id": _message_id(event),
        "kind": event.kind,
        "at": aware(event.at).isoformat(),
        "status": event.log.status,
        "tenant_id": event.log.tenant_id or None,
        "via": event.via,
        "code": event.code or None,
        "reason": event.reason or None,
        "is_stale": event.is_stale,
    }


def _line(event: EmailLogEvent) -> Text:
    """`2026-11-22 12:01:33 CET  sent      6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d  now sent`."""
    line = Text.assemble(
        (local_time(aware(event.at)), "dim"),
        "  ",
        (f"{event.kind:<9}", "dim" if event.is_stale else STYLES.get(event.kind, "")),
        plain(_message_id(event)),
    )
    if event.log.status != event.kind:
        line.append(f"  now {event.log.status}", "dim")
    if event.via != "proxy":
        line.append(f"  via {plain(event.via)}", "dim")
    for detail in (event.pec_event, event.bounce_type, event.code, event.reason):
        if detail:
            line.append(f"  {plain(detail)}", "dim")
    return line


def _message_id(event: EmailLogEvent) -> str:
    written = event.log.message_id
    return inexact(written) or written


def _moment(text: str) -> datetime:
    if match := re.fullmatch(r"(\d{1,9})([smhd])", text.strip()):
        return utcnow() - timedelta(seconds=int(match[1]) * _UNITS[match[2]])
    try:
        # Python 3.10 does not know the Z.
        at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as exc:
        raise ArgumentTypeError(f"must be a time like 10m, 2h or 2030-01-31T09:00+01:00, got {text!r}") from exc
    # The operator's own clock is meant where he names no zone.
    return at if at.tzinfo else at.astimezone()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 3600:
        raise ArgumentTypeError(f"must be a number of seconds from 0.05 to 3600, got {text!r}")
    return seconds
