"""A Celery worker as a real process, which can be killed in every way a worker dies."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .server_process import ServerProcess
from .waiting import PATIENCE_SECONDS, wait_until

__all__ = ["CeleryWorker"]

_READY = re.compile(r" ready\.\s*$", re.MULTILINE)


class CeleryWorker(ServerProcess):
    """`python -m celery -A APP worker OPTIONS`, in a session (and process group) of its own.

    Args:
        app: what `-A` takes, e.g. `tests.harness.mail_app`.
        options: further options of `celery worker`, e.g. `["--concurrency", "2", "-Q", "mails"]`.
        env: added to this process's environment.
        cwd: by default the repository's root.
        name: the first part of its node name; its log is `<name>.log` in its folder.
        python: the interpreter to run.
    """

    def __init__(
        self,
        app: str,
        *,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "worker",
        python: str = sys.executable,
        log_level: str = "INFO",
    ) -> None:
        self.name = name
        super().__init__(port=1)  # it has none
        self.node = f"{name}@{socket.gethostname()}"
        self.app = app
        self.options = list(options)
        self.env = dict(env or {})
        self.cwd = cwd or Path(__file__).parents[2]
        self.python = python
        self.log_level = log_level
        self._log_start = 0
        self._orphans: list[int] = []

    def command(self) -> list[str]:
        worker = [self.python, "-m", "celery", "-A", self.app, "worker", "-n", self.node]
        # It has no neighbours, for which it would look a second long.
        return [*worker, "-l", self.log_level, "--without-mingle", *self.options]

    def environment(self) -> dict[str, str]:
        # Killed, it leaves temporary files behind, which go with its folder.
        return {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(self.folder), **self.env}

    def working_directory(self) -> Path:
        return self.cwd

    def launch(self) -> None:
        self._log_start = len(self.log)
        super().launch()

    def is_ready(self) -> bool:
        """Whether it has said so since its last start; needs a log level of INFO or lower."""
        return bool(_READY.search(self.log[self._log_start :]))

    def wait_for_log(self, pattern: str, *, timeout_seconds: float = PATIENCE_SECONDS) -> re.Match[str]:
        """Wait until a line of the log since the last start matches, and return the match."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.log[self._log_start :], re.MULTILINE)

        def problem() -> str:
            last_lines = "\n".join(self.log.splitlines()[-25:])
            return f"a line like {pattern!r} of {self.name}:\n{last_lines}"

        match = wait_until(found, problem, timeout_seconds=timeout_seconds)
        assert match is not None
        return match

    def pool_pids(self) -> list[int]:
        """The processes of its prefork pool."""
        if self.pid is None:
            return []
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True)
        pairs = (line.split() for line in listing.stdout.splitlines())
        return [int(pid) for pid, parent in pairs if int(parent) == self.pid]

    def kill_pool(self) -> list[int]:
        """SIGKILL to the pool's processes only, as the system does when memory is short; the worker replaces them."""
        pids = self.pool_pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return pids

    def kill_parent(self) -> None:
        """SIGKILL to the main process only; its pool's processes find out by themselves. `kill()` ends those too."""
        process, self.process = self.process, None
        if process is not None:
            self._orphans.append(process.pid)
            process.kill()
            process.wait()

    def close(self) -> None:
        for group in self._orphans:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        super().close()
