"""`python -m examples.django`: the shop with everything it needs, until Ctrl-C.

An SMTP sink, the real genro-mail-proxy, a Celery worker and Django's own server, on SQLite, in a temporary folder. The
first time, the proxy is installed into a virtual environment of its own.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
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

from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port

START_TIMEOUT_SECONDS = 60

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    options = read_options()
    # Ends as Ctrl-C does, so that nothing is left running. What a shell starts in the background ignores Ctrl-C's own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            # Slow enough for a mail to be seen as queued before it is sent.
            sink = stack.enter_context(MailSink(delay_seconds=2))
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailproxy-shop-")))
            servers = start(stack, folder, sink, options.port or free_port())
            follow(servers, sink)
            console.print("[red]A server has ended by itself.[/]")
            show_logs(folder)
            return 1
        except KeyboardInterrupt:
            console.print("\nThe shop is closed.")
            return 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.django", description="The Teapot Shop, until Ctrl-C.")
    parser.add_argument("--port", type=int, help="the shop's port on 127.0.0.1; by default a free one")
    return parser.parse_args()


def start(stack: ExitStack, folder: Path, sink: MailSink, port: int) -> list[subprocess.Popen[bytes]]:
    """Start all of it; the worker and the web server, which run until they are stopped."""
    for name in ("broker", "control", "mails"):
        (folder / name).mkdir()
    with console.status("installing genro-mail-proxy into a virtual environment of its own …") as status:
        proxy = stack.enter_context(RealProxy("entities", progress=status.update))
    sync_token, password = secrets.token_urlsafe(16), secrets.token_urlsafe(9)
    proxy.add_tenant("shop", client_base_url=f"http://127.0.0.1:{port}", bearer_token=sync_token)
    proxy.add_account("shop", "main", sink.host, sink.port)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="examples.django.settings",
        DJANGO_SUPERUSER_PASSWORD=password,
        SHOP_FOLDER=str(folder),
        SHOP_PROXY_URL=proxy.url,
        SHOP_PROXY_TOKEN=proxy.token,
        SHOP_SYNC_TOKEN=sync_token,
    )
    started(f"genro-mail-proxy at {proxy.url}, an SMTP sink on port {sink.port}")
    manage("migrate", "--verbosity", "0")
    manage("createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.com", "--verbosity", "0")
    worker = ["celery", "-A", "examples.django", "worker", "--loglevel", "INFO", "--concurrency", "2"]
    web = ["examples.django.manage", "runserver", "--noreload", f"127.0.0.1:{port}"]
    servers = [
        stack.enter_context(running(name, command, folder)) for name, command in (("worker", worker), ("web", web))
    ]
    wait_until_ready(servers, folder, port)
    started(f"Celery worker and web server; what they log is in {folder}")
    url = f"http://127.0.0.1:{port}/"
    console.print(
        f"\n  shop   {url}\n  admin  {url}admin/   user admin, password {password}\n"
        "\nCtrl-C ends it. Each mail that the SMTP server takes is shown here:"
    )
    return servers


def manage(*command: str) -> None:
    subprocess.run([sys.executable, "-m", "examples.django.manage", *command], check=True)


@contextmanager
def running(name: str, command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m COMMAND`, with its log in the folder; stopped at the end."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for this program, which then stops them in order.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_ready(servers: list[subprocess.Popen[bytes]], folder: Path, port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline and all(server.poll() is None for server in servers):
        if " ready." in (folder / "worker.log").read_text() and answers(port):
            return
        time.sleep(0.1)
    show_logs(folder)
    raise SystemExit("the shop did not start: its logs are above")


def show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        console.print(f"[bold]{log.name}[/]")
        console.print("\n".join(log.read_text().splitlines()[-30:]), markup=False)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def follow(servers: list[subprocess.Popen[bytes]], sink: MailSink) -> None:
    """Show each mail as it arrives; comes back only where a server has ended."""
    shown = 0
    while all(server.poll() is None for server in servers):
        mails = sink.mails
        for mail in mails[shown:]:
            show(mail)
        shown = len(mails)
        time.sleep(0.2)


def show(mail: Any) -> None:
    names = [part.get_filename() for part in mail.message.iter_attachments()]
    attached = f", with {', '.join(filter(None, names))}" if names else ""
    console.print(f"  {mail.message['Subject']!r} to {', '.join(mail.rcpt_to)}{attached}", markup=False)


def started(what: str) -> None:
    console.print(f"[green]✓[/] {what}")


if __name__ == "__main__":
    sys.exit(main())
