"""The programs of both sides: workers that can be stopped and killed, and commands that end by themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import redis

from celery_mailproxy.testing.ports import free_port

__all__ = ["Side", "Worker", "give_out_again", "start_redis", "tasks_in_hand"]

_HERE = Path(__file__).parent
_START_SECONDS = 180


class Side:
    """The shop with one of its settings, in one environment."""

    def __init__(self, name: str, *, python: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.python = python
        self.folder = folder
        # Ours is found from here; the old side must not even see it.
        paths = [str(_HERE)] if name == "old" else [str(_HERE), str(_HERE.parents[1])]
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.environment = {
            **clean,
            **environment,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": f"shop.settings_{name}",
        }

    def run(self, *arguments: str) -> str:
        """`python -m ARGUMENTS`, to its end; what it printed. Raises `RuntimeError` where it fails."""
        done = subprocess.run(
            [self.python, "-m", *arguments],
            env=self.environment,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with exit code {done.returncode}:\n{done.stdout}")
        return done.stdout

    def publish(self, first: int, last: int) -> None:
        """Send the mails of these numbers as the web process of this side does."""
        self.run("shop.publish", str(first), str(last))


class Worker:
    """A Celery worker of one side, with two processes. Enter it to start it."""

    def __init__(self, side: Side, *options: str) -> None:
        self._side = side
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = side.folder / f"worker-{side.name}.log"

    def start(self) -> None:
        """Start it, and wait until it is ready. Raises `RuntimeError`."""
        before = self._log_length()
        command = ["-m", "celery", "-A", "shop", "worker", "-l", "INFO", "-c", "2", "-n", f"{self._side.name}@%h"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [self._side.python, *command, *self._options],
                env=self._side.environment,
                cwd=self._side.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for this program, which then stops them in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while b" ready." not in self.log_path.read_bytes()[before:]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker did not start:\n{self.log_path.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Let it end its tasks, and give the others back."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if how is signal.SIGKILL:
            os.killpg(process.pid, how)
        else:
            process.send_signal(how)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _log_length(self) -> int:
        return self.log_path.stat().st_size if self.log_path.exists() else 0


def start_redis(folder: Path) -> tuple[str, subprocess.Popen[bytes]] | None:
    """A Redis of the script's own and its URL; None where there is no server to start."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        return None
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    return f"redis://127.0.0.1:{port}/0", process


def give_out_again(broker_url: str) -> None:
    """Let a Redis give out what a dead worker had, as if the `visibility_timeout` had passed."""
    with redis.Redis.from_url(broker_url) as client:
        for tag in client.zrange("unacked_index", 0, -1):
            client.zadd("unacked_index", {tag: 1}, xx=True)
        # Who dies while it looks for such tasks keeps the others from it for five minutes.
        client.delete("unacked_mutex")


def tasks_in_hand(broker_url: str) -> int:
    """How many tasks workers have taken from a Redis and not acknowledged."""
    with redis.Redis.from_url(broker_url) as client:
        return int(client.hlen("unacked"))
