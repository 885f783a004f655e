"""`make demo`: real mails through a real genro-mail-proxy, and every outcome back in Celery.

Exit code 0 only if every outcome arrived. Ends by itself within a minute (the first time, the proxy is installed
into a virtual environment of its own before that).
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port

TIMEOUT_SECONDS = 45

# A one-pixel PNG.
LOGO = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)

STYLES = {"mail_sent": "green", "mail_error": "red", "mail_deferred": "yellow", "mail_queued": "cyan"}

console = Console(highlight=False)


def main() -> int:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailproxy-demo-")))
        for name in ("broker", "control", "results"):
            (folder / name).mkdir()
        sink = stack.enter_context(MailSink())
        port = free_port()
        proxy = start_proxy(stack, sink, port)
        prepare_environment(folder, proxy)
        stack.enter_context(running_worker(folder, port))
        sent = send_mails()
        outcomes = follow(folder / "events.jsonl", sent)
        show_results(sent, outcomes)
        show_mail(sink)
        return verdict(sent, outcomes, sink)


def start_proxy(stack: ExitStack, sink: MailSink, port: int) -> RealProxy:
    """A real genro-mail-proxy with a tenant that reports to the worker's listener, and an SMTP account."""
    with console.status("installing genro-mail-proxy into a virtual environment of its own …") as status:
        proxy = stack.enter_context(RealProxy("entities", progress=status.update))
    sync_token = os.environ["MAIL_PROXY_SYNC_TOKEN"] = secrets.token_urlsafe(16)
    proxy.add_tenant("shop", client_base_url=f"http://127.0.0.1:{port}", bearer_token=sync_token)
    proxy.add_account("shop", "main", sink.host, sink.port)
    started(f"genro-mail-proxy 0.7.0 at {proxy.url}, SMTP sink on port {sink.port}")
    return proxy


def prepare_environment(folder: Path, proxy: RealProxy) -> None:
    """What `examples.demo.app` reads, here and in the worker."""
    os.environ.update(DEMO_FOLDER=str(folder), DEMO_PROXY_URL=proxy.url, MAIL_PROXY_TOKEN=proxy.token)


@contextmanager
def running_worker(folder: Path, port: int) -> Iterator[None]:
    """A real Celery worker with two processes, and the receiver for the proxy's reports inside it."""
    log_path = folder / "worker.log"
    command = ["-m", "celery", "-A", "examples.demo.app", "worker", "--loglevel", "INFO", "--concurrency", "2"]
    with log_path.open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, *command, "--mailproxy-listen", f"127.0.0.1:{port}"],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_listener(worker, log_path, port)
        started(f"Celery worker with its listener at http://127.0.0.1:{port}/mail-proxy/sync")
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def wait_for_listener(worker: subprocess.Popen[bytes], log_path: Path, port: int) -> None:
    for _ in range(300):
        if worker.poll() is not None:
            break
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    console.print(log_path.read_text())
    raise SystemExit("the worker did not start: its log is above")


def send_mails() -> dict[str, str]:
    """Publish four mails, as a web process would; message id → the outcome to come."""
    from celery_mailproxy import Attachment, send_via_proxy

    from .app import app, call_customer, note_delay, ship_order

    app.set_current()
    callbacks = {"on_sent": ship_order, "on_error": call_customer, "on_deferred": note_delay}
    mails: list[tuple[str, dict[str, Any]]] = [
        ("sent", {"to": ["ann@example.com"], "subject": "Your order 1", "body": "Thank you!"}),
        (
            "sent",
            {
                "to": ["Zoë Fischer <zoe@example.com>"],
                "bcc": ["archive@example.com"],
                "subject": "Grüße: your order 2 with everything",
                "body": "Text for those who like text.",
                "html_body": '<p>Grüße! <img src="cid:logo"></p>',
                "attachments": [
                    Attachment(filename="logo.png", content=LOGO, mime_type="image/png", content_id="logo"),
                    Attachment(filename="Rechnung März.pdf", content=b"%PDF-1.4 ...", mime_type="application/pdf"),
                ],
            },
        ),
        ("deferred", {"to": ["later@example.com"], "subject": "Your order 3", "body": "Greylisted."}),
        ("error", {"to": ["spam@example.com"], "subject": "Your order 4", "body": "Refused."}),
    ]
    expected = {}
    for order, (outcome, mail) in enumerate(mails, start=1):
        result = send_via_proxy.delay(**mail, **{name: task.s(order) for name, task in callbacks.items()})
        expected[result.id] = outcome
        console.print(f"  send_via_proxy.delay(to={mail['to']}, …) → {result.id[:8]}", soft_wrap=True)
    return expected


def follow(events_path: Path, expected: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Print each event as it comes, until every mail has had its outcome and its chained task."""
    console.print()
    outcomes: dict[str, dict[str, Any]] = {message_id: {} for message_id in expected}
    begin = time.time()
    position = 0
    while time.time() - begin < TIMEOUT_SECONDS:
        lines = events_path.read_text().splitlines() if events_path.exists() else []
        for line in lines[position:]:
            event = json.loads(line)
            print_event(event, since=begin)
            if event["id"] in outcomes:
                outcomes[event["id"]][event["name"]] = event.get("result", event.get("reason"))
        position = len(lines)
        if all(is_complete(outcomes[message_id], outcome) for message_id, outcome in expected.items()):
            break
        time.sleep(0.05)
    return outcomes


TASKS = {"sent": "ship_order", "error": "call_customer", "deferred": "note_delay"}


def is_complete(seen: dict[str, Any], outcome: str) -> bool:
    return {"mail_queued", f"mail_{outcome}", TASKS[outcome]} <= seen.keys()


def print_event(event: dict[str, Any], *, since: float) -> None:
    name = event["name"]
    detail = event.get("subject") if event["what"] == "signal" else event["result"]
    style = STYLES.get(name, "magenta")
    console.print(
        f"  [dim]{event['time'] - since:6.2f} s[/]  {event['what']:<6}  [{style}]{name:<14}[/]  "
        f"[dim]{event['id'][:8]}[/]  {detail}",
        soft_wrap=True,
    )


def show_results(expected: dict[str, str], outcomes: dict[str, dict[str, Any]]) -> None:
    from celery_mailproxy import get_delivery

    from .app import app

    table = Table(title="\nWhat became of them", title_justify="left")
    for column in ("message", "task result", "delivery status", "chained task"):
        table.add_column(column)
    for message_id, outcome in expected.items():
        delivery = get_delivery(message_id, app=app)
        result = app.AsyncResult(message_id)
        status = delivery.status.value if delivery else "?"
        chained = f"{TASKS[outcome]}: {outcomes[message_id].get(TASKS[outcome], 'missing')}"
        style = STYLES.get(f"mail_{status}", "")
        table.add_row(message_id[:8], result.state, f"[{style}]{status}[/]" if style else status, chained)
    console.print(table)


def show_mail(sink: MailSink) -> None:
    """The mail with everything in it, as the SMTP server got it."""
    rich_mails = [mail for mail in sink.mails if b"multipart" in mail.raw]
    if not rich_mails:
        return
    mail = rich_mails[0]
    lines = [f"envelope: from {mail.mail_from} to {', '.join(mail.rcpt_to)}", ""]
    lines += [f"{name}: {mail.message[name]}" for name in ("From", "To", "Subject")]
    lines += ["", *tree(mail.message)]
    console.print(Panel("\n".join(lines), title="As the SMTP server got it", title_align="left", expand=False))


def tree(part: Any, depth: int = 0) -> Iterator[str]:
    """A mail's parts, a line each."""
    yield f"{'  ' * depth}{part.get_content_type()} {part.get_filename() or ''}".rstrip()
    for inner in part.iter_parts() if part.is_multipart() else ():
        yield from tree(inner, depth + 1)


def verdict(expected: dict[str, str], outcomes: dict[str, dict[str, Any]], sink: MailSink) -> int:
    missing = [
        f"{message_id[:8]} ({outcome})"
        for message_id, outcome in expected.items()
        if not is_complete(outcomes[message_id], outcome)
    ]
    deliveries = sum(outcome == "sent" for outcome in expected.values())
    if missing or len(sink.mails) != deliveries:
        console.print(f"[red]missing outcomes: {', '.join(missing) or 'none'}; {len(sink.mails)} mails arrived[/]")
        return 1
    console.print(f"[green]Every outcome arrived: {len(expected)} mails, {deliveries} of them delivered once each.[/]")
    return 0


def started(what: str) -> None:
    console.print(f"[green]✓[/] {what}")


if __name__ == "__main__":
    sys.exit(main())
