"""Made-up ledgers: what a run in which nothing went wrong would have noted, event by event."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.chaos.ledger import Event
from tests.chaos.load import Item, Mail, Shape

__all__ = ["WORKER", "Book", "a_campaign", "a_chain", "a_mail"]

#: Processes of a made-up run.
CALLER, RELAY, WORKER, TASK_WORKER = 10, 20, 100, 200


def a_mail(*, is_refused: bool = False) -> Item:
    mail = Mail(number=1, is_refused=is_refused)
    return Item(number=1, at=0.0, shape=Shape.SINGLE, mails=(mail,), task_id="t1")


def a_chain() -> Item:
    return Item(number=1, at=0.0, shape=Shape.CHAIN, mails=(Mail(number=1),), task_id="t1")


def a_campaign() -> Item:
    mails = (Mail(number=1), Mail(number=2, is_refused=True))
    return Item(number=1, at=0.0, shape=Shape.CAMPAIGN, mails=mails, task_id="t1")


class Book:
    """Events, each a tenth of a second after the one before it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._times = (1000.0 + index / 10 for index in itertools.count())

    def note(self, what: str, *, pid: int = WORKER, **fields: Any) -> Book:
        self.events.append({"what": what, "time": next(self._times), "pid": pid, **fields})
        return self

    def all_of(self, item: Item) -> Book:
        """Everything that belongs to an item, in the order in which it usually happens."""
        self.calling(item).accepted(item)
        for mail in item.mails:
            self.submitted(mail).queued(mail).ended(mail)
            if item.shape.has_callbacks:
                self.called_back(mail)
        if item.shape is Shape.CHAIN:
            self.ran("followed", item.mails[0].number)
        if item.shape.has_body:
            self.summarised(item)
        return self

    def calling(self, item: Item) -> Book:
        return self.note("calling", pid=CALLER, item=item.number)

    def accepted(self, item: Item) -> Book:
        return self.note("accepted", pid=CALLER, item=item.number, ids=[])

    def submitted(self, mail: Mail, *, id_: str = "") -> Book:
        mails = {id_ or f"m{mail.number}": mail.number}
        self.note("submitting", pid=RELAY, mails=mails)
        return self.note("answered", pid=RELAY, status=200, mails=mails)

    def queued(self, mail: Mail) -> Book:
        return self.handled(mail, "mail_queued", "queued").marked(mail, "queued")

    def ended(self, mail: Mail, *, pid: int = WORKER) -> Book:
        """The proxy sends it, or gives it up, and its report is dispatched."""
        if mail.ends_as == "sent":
            self.note("arrived", pid=RELAY, number=mail.number)
        errors = {f"m{mail.number}": "554"} if mail.ends_as == "error" else {}
        self.note("reported", pid=RELAY, ids=[f"m{mail.number}"], status=200, errors=errors)
        self.told(mail, pid=pid)
        return self.marked(mail, f"{mail.ends_as}:7", pid=pid)

    def told(self, mail: Mail, *, pid: int = WORKER) -> Book:
        for signal in (f"mail_{mail.ends_as}", "delivery_reported"):
            self.handled(mail, signal, f"{mail.ends_as}:7", pid=pid)
        return self

    def handled(self, mail: Mail, signal: str, key: str, *, pid: int = WORKER, is_cut: bool = False) -> Book:
        fields = {"id": f"m{mail.number}", "signal": signal, "key": key}
        self.note("handler begun", pid=pid, **fields)
        return self if is_cut else self.note("handler ended", pid=pid, **fields)

    def marked(self, mail: Mail, key: str, *, pid: int = WORKER, what: str = "marked") -> Book:
        return self.note(what, pid=pid, id=f"m{mail.number}", key=key)

    def called_back(self, mail: Mail, *, task_id: str = "") -> Book:
        name = f"on_{mail.ends_as}"
        self.published(task_id or f"{name}-{mail.number}", name=name, number=mail.number)
        return self.ran(name, mail.number, task_id=task_id)

    def published(self, task_id: str, *, name: str, number: int, pid: int = WORKER) -> Book:
        """By the mail of that number; a chord's body is published by nobody that is known."""
        by = None if name == "summarised" else f"m{number}"
        return self.note("published", pid=pid, name=name, number=number, task_id=task_id, by=by)

    def ran(self, name: str, number: int, *, task_id: str = "", pid: int = TASK_WORKER, **fields: Any) -> Book:
        fields |= {"name": name, "number": number, "task_id": task_id or f"{name}-{number}"}
        self.note("run begun", pid=pid, **fields)
        return self.note("run ended", pid=pid, **fields)

    def summarised(self, item: Item, **outcomes: str) -> Book:
        outcomes = {f"m{mail.number}": mail.ends_as for mail in item.mails} | outcomes
        return self.ran("summarised", item.number, outcomes=outcomes)

    def killed(self, *pids: int) -> Book:
        return self.note("killed", pid=RELAY, pids=list(pids), number=0)

    def fault(self, kind: str, during: Callable[[Book], Any] = lambda book: None) -> Book:
        number = len(self.events)
        self.note("fault begun", pid=RELAY, number=number, kind=kind)
        during(self)
        return self.note("fault ended", pid=RELAY, number=number, kind=kind, problem=None)

    def statuses(self, **statuses: str | None) -> Book:
        return self.note("statuses", statuses=statuses)

    def without(self, what: str, **fields: Any) -> Book:
        """The same without the events that are so."""

        def is_so(event: Event) -> bool:
            return event["what"] == what and all(event.get(name) == value for name, value in fields.items())

        self.events = [event for event in self.events if not is_so(event)]
        return self
