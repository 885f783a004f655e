"""The ledger's events, put in order: what is known of each mail, report, task and process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from .ledger import Event

__all__ = ["Evidence", "Run", "gather"]


@dataclass(slots=True, kw_only=True)
class Run:
    """One run of a handler or a task, or one publication of a task, in one process.

    `ended_at` is None where it was cut short. `subject` is the message id or the task id that it was about.
    """

    pid: int
    began_at: float
    ended_at: float | None = None
    subject: str = ""
    key: str = ""


@dataclass(slots=True, kw_only=True)
class Evidence:
    """What the events say, by whom they are about. Times are unix seconds."""

    #: items by number: when the call began, when it was accepted
    called: dict[int, float] = field(default_factory=dict)
    accepted: dict[int, float] = field(default_factory=dict)
    #: message id → the number of its mail, for what was submitted to the proxy
    numbers: dict[str, int] = field(default_factory=dict)
    #: message id → how many submissions the proxy answered with success
    answered: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    #: message id → the proxy's reason for giving it up
    given_up: dict[str, str] = field(default_factory=dict)
    #: a mail's number → when the SMTP server took it
    arrived: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: (message id, signal) → its handler's runs
    handled: dict[tuple[str, str], list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: (task's name, number) → the task's runs
    ran: dict[tuple[str, int], list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: (task's name, number) of what the broker has taken
    taken: set[tuple[str, int]] = field(default_factory=set)
    #: task id → its publications
    published: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))
    #: message id → (process, time) of each mark that one of its reports is dispatched, and of each that failed
    marked: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    #: process → when it was killed, or found dead
    killed: dict[int, float] = field(default_factory=dict)
    #: process → (time, subject) of what it began to do
    work: dict[int, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))
    #: kind, begin and end of each fault
    faults: list[tuple[str, float, float]] = field(default_factory=list)
    #: faults that could not be carried out, and processes that ended by themselves
    mishaps: list[str] = field(default_factory=list)
    #: item → outcomes that its chord's body got, by message id
    outcomes: dict[int, dict[str, str]] = field(default_factory=dict)
    #: message id → its delivery's status in the store at the end; None where there is none
    statuses: dict[str, str | None] = field(default_factory=dict)
    last_at: float = 0.0

    def died_within(self, run: Run, *, before: float) -> bool:
        """Whether the process died in the midst of it: killed by then, not done, and never at anything else."""
        if self.killed.get(run.pid, before) >= before:
            return False
        is_marked = any(pid == run.pid and at >= run.began_at for pid, at in self.marked.get(run.subject, ()))
        went_on = any(at > run.began_at and subject != run.subject for at, subject in self.work[run.pid])
        return not (is_marked or went_on)


def gather(events: Iterable[Event]) -> Evidence:
    """The evidence of these events."""
    gatherer = _Gatherer()
    for event in events:
        gatherer.add(event)
    return gatherer.evidence


class _Gatherer:
    def __init__(self) -> None:
        self.evidence = Evidence()
        self._children: dict[int, list[int]] = defaultdict(list)
        self._faults_begun: dict[int | str, float] = {}

    def add(self, event: Event) -> None:
        self.evidence.last_at = max(self.evidence.last_at, event["time"])
        add = getattr(self, f"_add_{event['what'].replace(' ', '_')}", None)
        if add is not None:
            add(event)

    def _add_calling(self, event: Event) -> None:
        self.evidence.called[event["item"]] = event["time"]

    def _add_accepted(self, event: Event) -> None:
        self.evidence.accepted.setdefault(event["item"], event["time"])

    def _add_submitting(self, event: Event) -> None:
        self.evidence.numbers |= {each: number for each, number in event["mails"].items() if number is not None}

    def _add_answered(self, event: Event) -> None:
        for message_id in event["mails"] if event["status"] == 200 else ():
            self.evidence.answered[message_id] += 1

    def _add_reported(self, event: Event) -> None:
        self.evidence.given_up |= event["errors"]

    def _add_arrived(self, event: Event) -> None:
        self.evidence.arrived[event["number"]].append(event["time"])

    def _add_handler_begun(self, event: Event) -> None:
        run = self._begun(event, event["id"])
        self.evidence.handled[event["id"], event["signal"]].append(run)

    def _add_handler_ended(self, event: Event) -> None:
        _end(self.evidence.handled[event["id"], event["signal"]], event)

    def _add_run_begun(self, event: Event) -> None:
        run = self._begun(event, event["task_id"])
        self.evidence.ran[event["name"], event["number"]].append(run)
        if "outcomes" in event:
            self.evidence.outcomes[event["number"]] = event["outcomes"]

    def _add_run_ended(self, event: Event) -> None:
        _end(self.evidence.ran[event["name"], event["number"]], event)

    def _add_published(self, event: Event) -> None:
        # By a dispatch of that message's report, or by the task of that id.
        run = self._begun(event, event["by"])
        self.evidence.published[event["task_id"]].append(run)
        self.evidence.taken.add((event["name"], event["number"]))

    def _begun(self, event: Event, subject: str) -> Run:
        self.evidence.work[event["pid"]].append((event["time"], subject))
        return Run(pid=event["pid"], began_at=event["time"], subject=subject, key=event.get("key", ""))

    def _add_marked(self, event: Event) -> None:
        self.evidence.marked[event["id"]].append((event["pid"], event["time"]))

    _add_not_marked = _add_marked

    def _add_process(self, event: Event) -> None:
        self._children[event["parent"]].append(event["pid"])

    def _add_killed(self, event: Event) -> None:
        for pid in event["pids"]:
            # A worker's pool goes with it.
            for each in (pid, *self._children[pid]):
                self.evidence.killed.setdefault(each, event["time"])

    def _add_died_by_itself(self, event: Event) -> None:
        if not self.evidence.killed.keys() & set(event["pids"]):
            self.evidence.mishaps.append(f"{event['name']} ended by itself")
        self._add_killed(event)

    def _add_fault_begun(self, event: Event) -> None:
        self._faults_begun[event["number"]] = event["time"]

    def _add_fault_ended(self, event: Event) -> None:
        self.evidence.faults.append((event["kind"], self._faults_begun[event["number"]], event["time"]))
        if event["problem"]:
            self.evidence.mishaps.append(f"{event['kind']}: {event['problem']}")

    def _add_statuses(self, event: Event) -> None:
        self.evidence.statuses |= event["statuses"]


def _end(runs: list[Run], event: Event) -> None:
    for run in reversed(runs):
        if run.pid == event["pid"] and run.ended_at is None:
            run.ended_at = event["time"]
            return
