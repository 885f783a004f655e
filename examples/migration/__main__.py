"""`python -m examples.migration`: the whole move from django-celery-email to the proxy, on real parts.

The old package publishes and sends by SMTP, new workers take over what it has queued, the proxy's share rises from
0 to 25 to 100 %, with one step back. At the end every mail is counted: exit code 0 only if each arrived once.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from celery_mailproxy.testing import RealProxy
from celery_mailproxy.testing.ports import free_port

from .counting import show_counts
from .old_side import RELEASES, install_old_side
from .processes import Side, Worker, give_out_again, start_redis, tasks_in_hand
from .sink import ShopSink

#: Which part of the mails each step has.
PARTS = {
    "sent": 0.2,
    "refused": 0.1,
    "queued": 0.2,
    "share 0": 0.1,
    "share 25": 0.15,
    "back to 0": 0.1,
    "share 100": 0.15,
}

STEP_TIMEOUT_SECONDS = 240

#: How long it takes until a new share holds for every worker.
SHARE_SECONDS = 6

#: How long a step must have been quiet for everything to wait for its next try.
QUIET_SECONDS = 1.5

console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    options = read_options()
    # Ends as Ctrl-C does, so that nothing is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        return Move(stack, options).run()


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.migration", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("--mails", type=int, default=100, help="how many mails (default: 100, at least 20)")
    parser.add_argument("--kill", action="store_true", help="kill the worker (SIGKILL) in the midst of each step")
    parser.add_argument("--old", choices=sorted(RELEASES), default="3.0.0", help="the release of the old side")
    options = parser.parse_args()
    if options.mails < 20:
        parser.error("--mails must be 20 or more")
    return options


class Move:
    """The move, step by step."""

    def __init__(self, stack: ExitStack, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailproxy-move-")))
        for name in ("broker", "control"):
            (self.folder / name).mkdir()
        self.sink = stack.enter_context(ShopSink())
        self.broker_url = self._start_broker(stack)
        port = free_port()
        self.proxy, sync_token = self._start_proxy(stack, port)
        with console.status("…") as status:
            old_python = str(install_old_side(options.old, progress=status.update))
        environment = {
            "SHOP_FOLDER": str(self.folder),
            "SHOP_BROKER_URL": self.broker_url,
            "SHOP_SMTP_PORT": str(self.sink.port),
            "SHOP_PROXY_URL": self.proxy.url,
            "SHOP_PROXY_TOKEN": self.proxy.token,
            "SHOP_SYNC_TOKEN": sync_token,
        }
        self.old = Side("old", python=old_python, folder=self.folder, environment=environment)
        self.new = Side("new", python=sys.executable, folder=self.folder, environment=environment)
        self.new.run("django", "migrate", "--verbosity", "0")
        self.new_worker = Worker(self.new, "--mailproxy-listen", f"127.0.0.1:{port}")
        self.published = 0
        self.ranges: dict[str, range] = {}

    def run(self) -> int:
        begin = time.monotonic()
        self.old_side_sends()
        self.part("queued", self.old)
        console.print(f"  {len(self.ranges['queued'])} more are queued by the old package, with no worker left")
        with self.new_worker:
            self.step("Step 3: new workers drain what the old package has queued")
            self.follow("drained")
            self.shares()
            self.settle()
        seconds = time.monotonic() - begin
        return show_counts(console, self.folder, self.ranges, self.sink.arrived, seconds=seconds)

    def old_side_sends(self) -> None:
        self.step(f"Step 1: {RELEASES[self.options.old][0]} sends by SMTP")
        with Worker(self.old) as worker:
            self.part("sent", self.old)
            self.wait("sent", lambda: self.arrived() == self.published, total=self.published)
            self.step("Step 2: the SMTP server puts mails off; the old worker queues each again by itself")
            self.sink.refuses = True
            self.part("refused", self.old)
            number = len(self.ranges["refused"])
            self.wait("refused", self._all_wait, total=number, done=lambda: len(self.sink.refused))
            # Now nothing is in its hands: it acknowledges early, and what it is sending when it dies is lost.
            self._kill(worker) if self.options.kill else worker.stop()
        self.sink.refuses = False
        console.print(f"  the old worker is {'killed' if self.options.kill else 'stopped'}")

    def _all_wait(self) -> bool:
        is_quiet = time.monotonic() - self.sink.refused_at > QUIET_SECONDS
        return len(self.sink.refused) == len(self.ranges["refused"]) and is_quiet

    def shares(self) -> None:
        for part, share, what in (
            ("share 0", "0", "Step 4: the new side publishes; every mail is still sent by SMTP"),
            ("share 25", "0.25", "Step 5: a quarter of the recipients through the proxy"),
            ("back to 0", "0", "Step 6: one step back"),
            ("share 100", "1", "Step 7: everything through the proxy"),
        ):
            self.step(what)
            self.new.run("celery", "-A", "shop", "mailproxy", "share", share)
            # Each worker keeps the share that it has read for some seconds.
            time.sleep(SHARE_SECONDS)
            self.part(part, self.new)
            self.follow("arrived")

    def part(self, name: str, side: Side) -> None:
        """Publish the mails of a step."""
        is_last = name == list(PARTS)[-1]
        last = self.options.mails if is_last else self.published + max(1, round(self.options.mails * PARTS[name]))
        self.ranges[name] = range(self.published, last)
        if self.options.kill and side is self.new:
            # Few mails would all be sent before the worker can be killed.
            self.sink.limit = self.arrived() + max(1, len(self.ranges[name]) // 5)
        side.publish(self.published, last)
        self.published = last

    def follow(self, what: str) -> None:
        """Wait until everything has arrived; kill the worker once on the way."""
        if self.options.kill:
            some = self.sink.limit or self.arrived() + (self.published - self.arrived()) // 5
            self.wait("arrived before the worker is killed", lambda: self.arrived() >= some, total=some)
            self._kill_new_worker()
        self.wait(what, lambda: self.arrived() >= self.published, total=self.published)

    def _kill_new_worker(self) -> None:
        with self._everything_held():
            in_hand = tasks_in_hand(self.broker_url)
            self._kill(self.new_worker)
            self.sink.limit = None
        self.new_worker.start()
        console.print(f"  the worker is killed with {in_hand} tasks in its hands, and another started")

    def _kill(self, worker: Worker) -> None:
        worker.kill()
        # Nobody waits an hour here.
        give_out_again(self.broker_url)

    @contextmanager
    def _everything_held(self) -> Iterator[None]:
        """Let the worker hang in the midst of its tasks: SMTP server and proxy take what comes, and do not answer.

        Two moments are left out in which no software can help. Whoever dies between an SMTP server's answer and its own
        note of it sends twice. And a task that kombu has taken from Redis, but not noted as taken, is gone.
        """
        assert self.proxy.pid is not None
        self.sink.holds = True
        os.kill(self.proxy.pid, signal.SIGSTOP)
        try:
            self._wait_quiet()
            yield
        finally:
            os.kill(self.proxy.pid, signal.SIGCONT)
            self.sink.holds = False

    def _wait_quiet(self) -> None:
        """Until nobody has noted anything for a while: whoever could go on has done so."""
        seen, since = "", time.monotonic()
        while time.monotonic() - since < QUIET_SECONDS:
            if (now := self._logs()) != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.1)

    def arrived(self) -> int:
        return len(self.sink.arrived)

    def wait(
        self, what: str, is_done: Callable[[], bool], *, total: int, done: Callable[[], int] | None = None
    ) -> None:
        columns = (TextColumn("  {task.description}"), BarColumn(30), MofNCompleteColumn())
        number, deadline = -1, 0.0
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(what, total=total)
            while not is_done():
                if (now := (done or self.arrived)()) != number:
                    # Many mails may take long; none at all may not.
                    number, deadline = now, time.monotonic() + STEP_TIMEOUT_SECONDS
                progress.update(bar, completed=min(total, number))
                if time.monotonic() > deadline:
                    raise SystemExit(f"nothing for {STEP_TIMEOUT_SECONDS} s; the logs:\n{self._logs()}")
                time.sleep(0.1)
            progress.update(bar, completed=min(total, (done or self.arrived)()))

    def settle(self) -> None:
        """Give a second copy the time to come."""
        with console.status("waiting for what might come twice …"):
            time.sleep(3)

    def step(self, what: str) -> None:
        console.print(f"[bold]{what}[/]")

    def _start_broker(self, stack: ExitStack) -> str:
        redis = start_redis(self.folder)
        if redis is not None:
            url, process = redis
            stack.callback(stop, process)
            console.print(f"[green]✓[/] Redis at {url}")
            return url
        if self.options.kill:
            raise SystemExit("--kill needs a broker that keeps what a dead worker had: install redis-server")
        console.print("[green]✓[/] a folder as the broker (with redis-server installed it would be that)")
        return "filesystem://"

    def _start_proxy(self, stack: ExitStack, port: int) -> tuple[RealProxy, str]:
        with console.status("installing genro-mail-proxy into a virtual environment of its own …") as status:
            proxy = stack.enter_context(RealProxy("entities", progress=status.update))
        sync_token = secrets.token_urlsafe(16)
        proxy.add_tenant("shop", client_base_url=f"http://127.0.0.1:{port}", bearer_token=sync_token)
        proxy.add_account("shop", "main", self.sink.host, self.sink.port)
        console.print(f"[green]✓[/] genro-mail-proxy at {proxy.url}, an SMTP sink on port {self.sink.port}")
        return proxy, sync_token

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(self.folder.glob("*.log")))


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(10)


if __name__ == "__main__":
    sys.exit(main())
