"""Send one mail with the celery-mailproxy that is installed: `python send_one_mail.py FOLDER`, for `package.py`.

A real genro-mail-proxy, a real worker that takes its reports, and the command line, each as a user starts them. FOLDER
takes the broker, the store and the logs. Exit code 0 only if the mail arrived once and its delivery was reported.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import celery_mailproxy
from celery_mailproxy.testing import MailSink, RealProxy
from celery_mailproxy.testing.ports import free_port

RECIPIENT = "ann@example.com"
TIMEOUT_SECONDS = 90

#: The user's project.
SHOP = """
from celery import Celery

app = Celery("shop", broker="filesystem://", include=["celery_mailproxy.tasks"])
app.conf.broker_transport_options = {
    "data_folder_in": "broker", "data_folder_out": "broker", "control_folder": "control", "polling_interval": 0.1,
}
app.conf.broker_connection_retry_on_startup = True
"""


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(sys.argv[1]).resolve()
    os.chdir(folder)
    for name in ("broker", "control"):
        Path(name).mkdir(exist_ok=True)
    Path("shop.py").write_text(SHOP)
    if not Path(celery_mailproxy.__file__).is_relative_to(sys.prefix):
        print(f"{celery_mailproxy.__file__} was imported, which is not in the environment {sys.prefix}")
        return 1
    for name in celery_mailproxy.__all__:
        getattr(celery_mailproxy, name)
    port = free_port()
    with MailSink() as sink, RealProxy() as proxy:
        sync_token = secrets.token_urlsafe(16)
        proxy.add_tenant("shop", client_base_url=f"http://127.0.0.1:{port}", bearer_token=sync_token)
        proxy.add_account("shop", "main", sink.host, sink.port)
        os.environ.update(
            MAIL_PROXY_URL=proxy.url,
            MAIL_PROXY_TOKEN=proxy.token,
            MAIL_PROXY_TENANT="shop",
            MAIL_PROXY_ACCOUNT="main",
            MAIL_PROXY_SYNC_TOKEN=sync_token,
            MAIL_PROXY_FROM_EMAIL="shop@example.com",
            MAIL_PROXY_STORE=f"sqlite:///{folder / 'deliveries.sqlite3'}",
        )
        with worker(port):
            return send(sink)


@contextmanager
def worker(port: int) -> Iterator[None]:
    """A worker that sends, and listens for the proxy's reports."""
    options = ["--pool", "solo", "--loglevel", "INFO", "--mailproxy-listen", f"127.0.0.1:{port}"]
    with Path("worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "shop", "worker", *options], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_until_it_listens(process, port)
        yield
    except BaseException:
        print(Path("worker.log").read_text(errors="replace"))
        raise
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the worker does not listen for reports: its log is above")


def send(sink: MailSink) -> int:
    """Send by the command line, through broker, worker and proxy, and wait for the report."""
    mail = ["--to", RECIPIENT, "--subject", "Packaged", "--body", "Sent by an installed wheel."]
    wait = ["--wait", "--timeout", str(TIMEOUT_SECONDS)]
    command = [sys.executable, "-m", "celery", "-A", "shop", "mailproxy", "send", *mail, *wait]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    arrived = sink.mails_to(RECIPIENT)
    if done.returncode == 0 and [mail.message["Subject"] for mail in arrived] == ["Packaged"]:
        return 0
    print(Path("worker.log").read_text(errors="replace"))
    print(done.stdout)
    print(f"the command ended with {done.returncode}, {len(arrived)} mails arrived; the worker's log is above")
    return 1


if __name__ == "__main__":
    sys.exit(main())
