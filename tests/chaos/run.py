"""One run: an installation, the load, the plan, the wait for the last mail, the judgement."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.harness.json_lines import JsonLines

from .configuration import Configuration
from .controller import Controller
from .evidence import gather
from .installation import Installation
from .judge import judge
from .ledger import Event
from .load import Item, Side, make_load
from .plan import make_plan
from .recovery import recoveries
from .report import report
from .verdict import Verdict

__all__ = ["Outcome", "new_folder", "run", "temporary_place"]

_ROUND_SECONDS = 2.0


#: Servers and workers write all the time: that is not what a disk is to be kept busy with.
_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    verdict: Verdict
    report: str


def temporary_place() -> str:
    """Where temporary files are to be (`TMPDIR`): in memory, unless somebody has decided otherwise."""
    is_fit = "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK | os.X_OK)
    return str(_MEMORY) if is_fit else tempfile.gettempdir()


def new_folder(configuration: Configuration) -> Path:
    """A folder for a run."""
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{configuration.name}-", dir=temporary_place()))
    # Servers that refuse to run as root keep their data below it, as another user.
    folder.chmod(0o711)
    return folder


def run(configuration: Configuration, folder: Path, *, tell: Callable[[str], None] = print) -> Outcome:
    """Run it; the ledger and the logs of all processes stay in the folder."""
    began = time.monotonic()
    items = make_load(configuration.seed, mails=configuration.mails, seconds=configuration.seconds)
    with Installation(configuration, folder) as installation:
        tell(f"{configuration.name}: all parts are up after {time.monotonic() - began:.0f} s; {folder}")
        try:
            _Course(configuration, installation, items, tell).go()
        finally:
            _keep_logs(installation, folder / "logs")
    events = JsonLines(installation.ledger.path).events
    verdict, evidence = judge(items, events, broker=configuration.broker), gather(events)
    text = report(configuration, verdict, recoveries(items, evidence), evidence, seconds=time.monotonic() - began)
    (folder / "report.txt").write_text(text + "\n")
    return Outcome(verdict=verdict, report=text)


class _Course:
    """The course of a run on an installation that is up."""

    def __init__(
        self,
        configuration: Configuration,
        installation: Installation,
        items: tuple[Item, ...],
        tell: Callable[[str], None],
    ) -> None:
        self._configuration = configuration
        self._installation = installation
        self._items = items
        self._tell = tell
        self._reader = JsonLines(installation.ledger.path)

    def go(self) -> None:
        installation = self._installation
        kinds = self._configuration.kinds(can_fill=not self._configuration.has_sqlite or installation.disk.can_fill)
        plan = make_plan(
            self._configuration.seed,
            seconds=self._configuration.seconds,
            kinds=kinds,
            gap_seconds=self._configuration.gap_seconds,
        )
        controller = Controller(installation)
        with controller.looking_after():
            began_at = installation.start_callers()
            controller.carry_out(plan, began_at=began_at)
            self._tell(f"{self._configuration.name}: all faults are over after {time.time() - began_at:.0f} s")
            self._wait_for_the_end()
            self._note_statuses()

    def _wait_for_the_end(self) -> None:
        """Until nothing is awaited and all is quiet, or patience is at its end."""
        configuration = self._configuration
        began_at = time.time()
        quiet_seconds = 0.0
        while quiet_seconds < configuration.patience_seconds and time.time() - began_at < configuration.longest_seconds:
            events = self._reader.events
            last_at = max((event["time"] for event in events if _is_work(event)), default=0.0)
            quiet_seconds = time.time() - max(last_at, began_at)
            is_called = sum(event["what"] == "all called" for event in events) == len(Side)
            # Judging keeps the relays waiting, and where something moves it is not the end.
            is_quiet = is_called and quiet_seconds > configuration.quiet_seconds
            if is_quiet and not judge(self._items, events, broker=configuration.broker).awaited:
                return
            time.sleep(_ROUND_SECONDS)
        self._tell(f"{configuration.name}: patience is at its end")

    def _note_statuses(self) -> None:
        ids = gather(self._reader.events).numbers
        sides = {mail.number: item.shape.side for item in self._items for mail in item.mails}
        for side in Side:
            path = self._installation.folder / f"ids-{side.value}"
            path.write_text("\n".join(each for each, number in ids.items() if sides.get(number) is side))
            environment = {**os.environ, **self._installation.environment(side)}
            command = [sys.executable, "-m", "tests.chaos.states", str(path)]
            subprocess.run(command, env=environment, check=True, cwd=Path(__file__).parents[2])


def _is_work(event: Event) -> bool:
    """Whether a mail or a report has moved."""
    return event["what"] in ("submitting", "arrived", "handler begun", "handler ended", "run begun", "run ended")


def _keep_logs(installation: Installation, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    servers = {"broker": installation.broker, "store": installation.store, "database": installation.database}
    for name, process in {**installation.processes, **servers}.items():
        (folder / f"{name}.log").write_text(process.log)
    (folder / "proxy.log").write_text(installation.proxy.log)
