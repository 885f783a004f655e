"""`celery -A proj mailproxy send`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import click
from celery import Celery

from ..conf import task_names
from ..deliveries.delivery import Status
from ..errors import InvalidMessage
from ..mail.message import Attachment
from ..runtime import Runtime, get_runtime
from ..tasks.sending.arguments import one_outgoing
from ..tasks.sending.submitter import submitter_of
from .command import MailProxyCommand, app_of
from .follow import follow
from .options import json_option, sender_options, timeout_option
from .terminal import Terminal, span

__all__ = ["command", "publish", "submit"]

#: An argument of `send_via_proxy` → the option that gives it, for error messages.
_OPTIONS: Mapping[str, str] = {
    "account_id": "--account",
    "attachments": "--attach",
    "bcc": "--bcc",
    "body": "--body",
    "cc": "--cc",
    "from_email": "--from",
    "html_body": "--html-file",
    "message_id": "--id",
    "priority": "--priority",
    "send_at": "--send-at",
    "server": "--server",
    "subject": "--subject",
    "tenant_id": "--tenant",
    "to": "--to",
}

_TEXT_FILE = click.File("r", encoding="utf-8")


@click.command("send", cls=MailProxyCommand)
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; may be repeated.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Copy recipient; may be repeated.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Blind-copy recipient; may be repeated.")
@sender_options
@click.option("--subject", default="", help="The subject.")
@click.option("--body", help="The text body.")
@click.option("--body-file", type=_TEXT_FILE, metavar="FILE", help="File with the text body; - is standard input.")
@click.option("--html-file", type=_TEXT_FILE, metavar="FILE", help="File with the HTML body; - is standard input.")
@click.option(
    "--attach",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    help="File to attach; may be repeated.",
)
@click.option("--priority", metavar="PRIORITY", help="immediate, high, medium or low.  [default: medium]")
@click.option("--server", metavar="NAME", help="Send through this one of mail_proxy_servers.")
@click.option("--id", "message_id", metavar="ID", help="The message id.  [default: a new one]")
@click.option("--send-at", metavar="TIME", help="Send no earlier than 2030-01-31T09:00+01:00, or Unix seconds.")
@click.option("--direct", is_flag=True, help="Submit from this process, bypassing broker and worker.")
@click.option("--wait", is_flag=True, help="Wait until the email is sent or has failed, and show its progress.")
@timeout_option("How long --wait waits.")
@json_option()
@click.pass_context
def command(
    ctx: click.Context, /, *, direct: bool, wait: bool, timeout_seconds: float, is_json: bool, **arguments: Any
) -> None:
    """Send one email.

    Prints its message id. The email goes through the broker and a worker,
    as your application's emails do; with --direct this process submits it. Exits
    with code 1 if the email is refused or, with --wait, is not sent in time.

    \b
    Examples:
      celery -A proj mailproxy send --to ann@example.com --body "It works."
      report | celery -A proj mailproxy send --to ann@example.com \\
          --subject Report --body-file - --attach figures.pdf --wait
    """
    ctx.meta["argument_options"] = _OPTIONS
    terminal = Terminal.of(ctx)
    app = app_of(ctx, with_handlers=True)
    mail = _mail(**arguments)
    message_id = mail.pop("message_id", None) or str(uuid4())
    (submit if direct else publish)(app, mail, message_id)
    if not is_json:
        terminal.line(message_id)
    elif not wait:
        terminal.json({"id": message_id})
    if wait and not _is_sent(terminal, get_runtime(app), message_id, timeout_seconds=timeout_seconds, is_json=is_json):
        ctx.exit(1)


def publish(app: Celery, mail: Mapping[str, Any], message_id: str, **options: Any) -> None:
    """Publish the mail as a task whose id is the message id. Raises `InvalidMessage`, or kombu's `OperationalError`."""
    app.tasks[task_names.SEND].apply_async(kwargs={**mail, "message_id": message_id}, task_id=message_id, **options)


def submit(app: Celery, mail: Mapping[str, Any], message_id: str) -> None:
    """Submit the mail from this process. Raises any `MailProxyError`, `MessageRejected` among them."""
    runtime = get_runtime(app)
    outgoing = one_outgoing((), mail, settings=runtime.settings, message_id=message_id)
    submitter_of(runtime).submit([outgoing], task_id=message_id).raise_for(message_id)


def _is_sent(terminal: Terminal, runtime: Runtime, message_id: str, *, timeout_seconds: float, is_json: bool) -> bool:
    """Follow the mail to its end, and say how it ended."""
    watching = None if is_json else terminal
    followed = follow(runtime.store, message_id, timeout_seconds=timeout_seconds, terminal=watching)
    if is_json:
        seconds = round(followed.seconds, 3)
        fields = {"id": message_id, "status": followed.status.value, "seconds": seconds, "reason": followed.reason}
        terminal.json(fields)
    elif not followed.status.is_end:
        look = f"Look again: {terminal.program} status {message_id}"
        terminal.error(f"the email is still {followed.status} after {span(followed.seconds)}. {look}")
    return followed.status is Status.SENT


def _mail(
    *, body: str | None, body_file: TextIO | None, html_file: TextIO | None, attach: tuple[Path, ...], **rest: Any
) -> dict[str, Any]:
    """The options as arguments of `send_via_proxy`."""
    if body is not None and body_file is not None:
        raise InvalidMessage("body", "cannot be given together with --body-file")
    mail: dict[str, Any] = {name: list(value) if isinstance(value, tuple) else value for name, value in rest.items()}
    mail["body"] = body_file.read() if body_file else body
    mail["html_body"] = html_file.read() if html_file else None
    mail["attachments"] = [Attachment(filename=path.name, content=path.read_bytes()) for path in attach]
    mail["send_at"] = _time(mail["send_at"])
    if mail["body"] is None and mail["html_body"] is None:
        mail["body"] = ""
    return {name: value for name, value in mail.items() if value not in (None, [])}


def _time(text: str | None) -> datetime | float | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        # Python 3.10 does not know the Z.
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as exc:
        raise InvalidMessage("send_at", f"must be a time like 2030-01-31T09:00+01:00, got {text!r}") from exc
    # The operator's own clock is meant where he names no zone.
    return at if at.tzinfo else at.astimezone()
