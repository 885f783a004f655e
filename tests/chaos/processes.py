"""The processes of the application: workers, a receiver, and callers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.harness.server_process import ServerProcess

__all__ = ["APP", "Caller", "Receiver", "family_of"]

APP = "tests.chaos.app"

_ROOT = Path(__file__).parents[2]


class _AppProcess(ServerProcess):
    """A process of the application, in the repository's root."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.name = name
        super().__init__()
        self._env = dict(env)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(self.folder), **self._env}

    def working_directory(self) -> Path:
        return _ROOT


class Receiver(_AppProcess):
    """`celery mailproxy receiver`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        listen = f"127.0.0.1:{self.port}"
        return [sys.executable, "-m", "celery", "-A", APP, "mailproxy", "receiver", "--listen", listen]


class Caller(_AppProcess):
    """What sends the mails; see `caller` for its argument."""

    def __init__(self, name: str, env: Mapping[str, str], argument: str) -> None:
        super().__init__(name, env)
        self._argument = argument

    def command(self) -> list[str]:
        return [sys.executable, "-m", "tests.chaos.caller", self._argument]

    def is_ready(self) -> bool:
        return True


def family_of(pid: int) -> list[int]:
    """The process and its children."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True)
    pairs = (tuple(map(int, line.split())) for line in listing.stdout.splitlines())
    return [pid, *(child for child, parent in pairs if parent == pid)]
