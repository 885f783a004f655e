"""A process of the tests' own that can be started, stopped, killed and started again on the same data."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from celery_mailproxy.testing.ports import free_port

from .waiting import PATIENCE_SECONDS

__all__ = ["ServerProcess", "ServiceMissing"]

Self = TypeVar("Self", bound="ServerProcess")


class ServiceMissing(Exception):
    """A program that the tests run is not installed. The message says what to install."""


class ServerProcess:
    """Base: `command()` and `environment()` say what runs, `is_ready()` when it serves.

    It runs in a session of its own with a folder of its own, which is removed at the end.
    """

    name = "server"
    start_timeout_seconds = PATIENCE_SECONDS
    stop_timeout_seconds = 60.0

    def __init__(self, *, port: int | None = None, place: str | None = None) -> None:
        """`place` is where its folder is made, by default where temporary files are."""
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix=f"cmp-{self.name}-", dir=place, ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.log_path = self.folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def working_directory(self) -> Path:
        return self.folder

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self) -> None:
        """Start and wait until it serves."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start without waiting."""
        if self.pid is not None:
            return
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=self.working_directory(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_ready(self, *, timeout_seconds: float | None = None) -> None:
        deadline = time.monotonic() + (timeout_seconds or self.start_timeout_seconds)
        while not self.is_ready():
            if self.pid is None or time.monotonic() > deadline:
                problem = "ended at its start" if self.pid is None else "is not ready in time"
                last_lines = "\n".join(self.log.splitlines()[-25:])
                self.kill()
                raise RuntimeError(f"{self.name} {problem}:\n{last_lines}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it in order (SIGTERM); its data are kept."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole process group; its data are kept."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Kill it and remove its folder: nothing of it is needed any more, and an end in order may take seconds."""
        self.kill()
        self._folder.cleanup()

    def __enter__(self: Self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if how is signal.SIGTERM and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.stop_timeout_seconds)
        # Whatever is left of its group: children that outlived it, or all of it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
