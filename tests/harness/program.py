"""A command as an operator runs it in a terminal: read while it runs, and ended by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .server_process import ServerProcess
from .waiting import PATIENCE_SECONDS, wait_until

__all__ = ["Program"]

_ROOT = Path(__file__).parents[2]


class Program(ServerProcess):
    """`python -m ARGUMENTS` in the repository's root, until it ends by itself or is ended.

    `environment` replaces this process's. As a context manager it is started without waiting. At the end it is asked to
    end, so that it takes along what it has started, and then killed.
    """

    name = "program"

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str]) -> None:
        super().__init__(port=1)  # it has none
        self._arguments = list(arguments)
        self._environment = dict(environment)

    def command(self) -> list[str]:
        # A shell that runs the tests in its background has Ctrl-C ignored, by whatever they start as well.
        program = (
            "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], None, '__main__', True)"
        )
        return [sys.executable, "-c", program, *self._arguments]

    def environment(self) -> dict[str, str]:
        return self._environment

    def working_directory(self) -> Path:
        return _ROOT

    def is_ready(self) -> bool:
        """True: what it has to be waited for is in its output (see `wait_for`)."""
        return True

    def wait_for(self, text: str, *, times: int = 1, timeout_seconds: float = PATIENCE_SECONDS) -> str:
        """Its output, once the text has come so often. Fails where it ends before."""

        def found() -> bool:
            # Asked first: what it writes before it ends is in its output afterwards.
            is_running = self.pid is not None
            found_times = self.log.count(text)
            assert is_running or found_times >= times, self.log
            return found_times >= times

        wait_until(found, lambda: f"{text!r} in {self.log!r}", timeout_seconds=timeout_seconds)
        return self.log

    def wait(self, timeout_seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit code, once it has ended by itself."""
        return self._running.wait(timeout_seconds)

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Its exit code after this signal, which its children do not get."""
        self._running.send_signal(how)
        return self.wait()

    def close(self) -> None:
        self.stop()
        super().close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process
