"""Runs the parts as pytest processes side by side, shows how far they are, and ends them all at Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .parts import FULL, PARTS, Part, chosen
from .shared_rabbit import shared_rabbit
from .summary import Outcome, show

__all__ = ["main", "run_all"]

#: How often the progress is told, on a terminal and in a log.
_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 20.0

#: How long a part may take, once it is told to end, to end its servers.
_END_SECONDS = 60.0

#: What the temporary files of all parts together take at most, and as much again.
_MEMORY_BYTES = 2 * 1024**3

_PROGRESS = re.compile(r"^[.FEsxX]+ *(?:\[ *(\d+)%\])?$", re.MULTILINE)


def main(arguments: Sequence[str], parts: Sequence[Part] = PARTS) -> int:
    """Run all; pytest's arguments go to each part. The exit code is 0 if nothing failed."""
    # All ends in order, so that nothing is left running. A shell that runs this in its background has Ctrl-C ignored,
    # by whatever is started here as well.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    return run_all(arguments, parts)


def run_all(arguments: Sequence[str], parts: Sequence[Part]) -> int:
    """Run these parts, tell how far they are, and show what came of them; the exit code."""
    # Failures are read there after the run, so it stays.
    folder = Path(tempfile.mkdtemp(prefix="celery-mailproxy-tests-"))
    print(f"each part's output and its JUnit XML: {folder}", flush=True)
    parts_to_run = chosen(parts, arguments)
    with contextlib.ExitStack() as stack:
        places = stack.enter_context(_memory())
        sharing = [part for part, _ in parts_to_run if part.shares_rabbit]
        shared = stack.enter_context(shared_rabbit(sharing, place=places.get("TMPDIR"))) if sharing else {}
        runs = []
        for part, options in parts_to_run:
            # What is measured is measured on a disk, as it will be used.
            own = {} if part.is_alone else places
            runs.append(_Run(part, options, folder, {**os.environ, **own, **shared.get(part.name, {})}))
        try:
            _follow([run for run in runs if not run.part.is_alone])
            for run in runs:
                _follow([run] if run.part.is_alone else [])
        except KeyboardInterrupt:
            print("\ninterrupted: ending what runs …", flush=True)
            _end(runs)
            return 130
    return show([run.outcome() for run in runs], is_filtered=bool({*arguments} - {FULL}))


@contextlib.contextmanager
def _memory() -> Iterator[dict[str, str]]:
    """A place for temporary files that is no disk: SQLite and Redis wait for the disk with every step of a mail."""
    memory = Path("/dev/shm")
    is_fit = "TMPDIR" not in os.environ and os.access(memory, os.W_OK | os.X_OK)
    if not (is_fit and shutil.disk_usage(memory).free > _MEMORY_BYTES):
        yield {}
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="cmp-", ignore_cleanup_errors=True) as folder:
        # Servers that refuse to run as root keep their data below it, as another user.
        os.chmod(folder, 0o711)
        yield {"TMPDIR": folder}


class _Run:
    """One part's pytest process."""

    def __init__(self, part: Part, arguments: list[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.part = part
        self.log_path = folder / f"{part.name}.log"
        self.report_path = folder / f"{part.name}.xml"
        self._arguments = arguments
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._ended = 0.0

    def start(self) -> None:
        options = [f"--junitxml={self.report_path}", "-o", "junit_family=xunit1", "-o", "junit_logging=all"]
        options += ["-o", "junit_log_passing_tests=False", "-o", "console_output_style=progress"]
        self._began = time.monotonic()
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *self._arguments, *options],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C is for this program, which hands it on.
                start_new_session=True,
            )

    def is_running(self) -> bool:
        if self._process is None or self._process.poll() is None:
            return self._process is not None
        self._ended = self._ended or time.monotonic()
        return False

    def progress(self) -> str:
        dots = list(_PROGRESS.finditer(self.log_path.read_text(errors="replace")))
        failed = sum(each[0].count("F") + each[0].count("E") for each in dots)
        percent = next((each[1] for each in reversed(dots) if each[1]), "0") if self.is_running() else "100"
        return f"{self.part.name} {percent} %" + (f" ({failed} failed)" if failed else "")

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def outcome(self) -> Outcome:
        assert self._process is not None
        return Outcome(
            part=self.part.name,
            exit_code=self._process.wait(),
            seconds=self._ended - self._began,
            log_path=self.log_path,
            report_path=self.report_path,
        )


def _follow(runs: list[_Run]) -> None:
    """Start them, and tell how far they are until all have ended."""
    for run in runs:
        run.start()
    began = told = time.monotonic()
    is_terminal = sys.stdout.isatty()
    pause = _TERMINAL_SECONDS if is_terminal else _LOG_SECONDS
    while [run for run in runs if run.is_running()]:
        if time.monotonic() - told >= pause:
            told = time.monotonic()
            text = f"{told - began:4.0f} s: {', '.join(run.progress() for run in runs)}"
            print(f"\r{text:<100}" if is_terminal else text, end="" if is_terminal else "\n", flush=True)
        time.sleep(0.1)
    if runs and is_terminal:
        print()


def _end(runs: list[_Run]) -> None:
    """As Ctrl-C does, so that fixtures end their servers; whatever then still runs is killed."""
    running = [run for run in runs if run.is_running()]
    for run in running:
        run.signal(signal.SIGINT)
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(KeyboardInterrupt):
        while any(run.is_running() for run in running) and time.monotonic() < deadline:
            time.sleep(0.1)
    for run in running:
        run.signal(signal.SIGKILL)
