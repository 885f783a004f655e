"""The judge: whether each promise was kept, as a pure function of the load and the ledger's events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from .configuration import Broker
from .evidence import Evidence, Run, gather
from .ledger import Event
from .load import Item, Mail, Shape
from .verdict import Finding, Rule, Verdict

__all__ = ["judge"]

#: The signals that are awaited of every mail that has reached the proxy, besides that of its end.
_ALWAYS = ("mail_queued", "delivery_reported")

_PROXY_KILLED = "proxy killed"


def judge(items: Sequence[Item], events: Iterable[Event], *, broker: Broker = "rabbitmq") -> Verdict:
    """Judge what has happened so far.

    A mail counts as promised once its caller was told so (`accepted`). One whose call raised, or whose caller was
    killed in it, may be sent or not, yet once at the most; from its first submission on it is to end like any other.

    Redis may lose a task that it has taken. The outbox is there for the package's own; one of the application's that
    Redis has taken, and that never ran, is an exception.
    """
    return _Judge(items, gather(events), broker).verdict()


class _Judge:
    def __init__(self, items: Sequence[Item], evidence: Evidence, broker: Broker) -> None:
        self._items = items
        self._evidence = evidence
        self._broker = broker
        self._ids: dict[int, list[str]] = defaultdict(list)
        for message_id, number in evidence.numbers.items():
            self._ids[number].append(message_id)

    def verdict(self) -> Verdict:
        findings = [finding for item in self._items for finding in self._item(item)]
        findings += [
            finding
            for (message_id, _), runs in self._evidence.handled.items()
            for finding in self._repetitions(message_id, runs)
        ]
        return Verdict(findings=tuple(findings), counts=self._counts())

    def _counts(self) -> dict[str, int]:
        evidence = self._evidence
        accepted = [item for item in self._items if item.number in evidence.accepted]
        return {
            "mails accepted": sum(len(item.mails) for item in accepted),
            "mails refused, or whose caller was killed": sum(
                len(item.mails) for item in self._items if item.number in evidence.called.keys() - evidence.accepted
            ),
            "mails taken by the SMTP server": sum(map(len, evidence.arrived.values())),
            "submissions answered": sum(evidence.answered.values()),
            "handlers run": sum(map(len, evidence.handled.values())),
            "callbacks and continuations run": sum(map(len, evidence.ran.values())),
            "chains and chords accepted": sum(item.shape.has_body or item.shape is Shape.CHAIN for item in accepted),
        }

    def _item(self, item: Item) -> Iterator[Finding]:
        is_promised = item.number in self._evidence.accepted
        for mail in item.mails:
            yield from self._mail(item, mail, is_promised=is_promised)
        if item.shape is Shape.CHAIN:
            yield from self._continuation(item, "followed", item.mails[0].number, Rule.CHAIN_STUCK, Rule.CHAIN_TWICE)
        if item.shape.has_body:
            yield from self._continuation(item, "summarised", item.number, Rule.CHORD_STUCK, Rule.CHORD_TWICE)
            yield from self._outcomes(item)

    def _mail(self, item: Item, mail: Mail, *, is_promised: bool) -> Iterator[Finding]:
        subject = f"mail {mail.number}"
        ids = self._ids[mail.number]
        arrivals = self._evidence.arrived.get(mail.number, [])
        given_up = next((self._evidence.given_up[each] for each in ids if each in self._evidence.given_up), None)
        if len(arrivals) > 1:
            yield self._doubled(subject, ids, arrivals)
        if is_promised and not (ids or arrivals):
            # The first task of a chain is the application's.
            is_ours = item.shape is not Shape.CHAIN or self._has_run("rendered", mail.number)
            rule = Rule.LOST if is_ours or self._broker != "redis" else Rule.BROKER_LOST
            yield Finding(rule=rule, subject=subject, text=f"{item.shape.value}, never submitted")
            return
        if mail.ends_as == "sent" and ids and not arrivals:
            rule = Rule.LOST if given_up is None else Rule.PROXY_LOST
            yield Finding(rule=rule, subject=subject, text=f"{item.shape.value}, ids {ids}: {given_up}")
        ends_as = "error" if given_up is not None and not arrivals else mail.ends_as
        for message_id in ids:
            yield from self._told(message_id, subject, ends_as)
            yield from self._status(message_id, subject, ends_as)
        if item.shape.has_callbacks and ids:
            yield from self._callback(mail, ends_as)

    def _doubled(self, subject: str, ids: list[str], arrivals: list[float]) -> Finding:
        killed = [
            began
            for kind, began, _ in self._evidence.faults
            if kind == _PROXY_KILLED and min(arrivals) - 30 <= began <= max(arrivals)
        ]
        answered = sum(self._evidence.answered[each] for each in ids)
        # Whatever we submit under one id is one mail to the proxy: it knows an id that it has sent.
        is_the_proxys = len(ids) == 1 and (bool(killed) or answered == 1)
        text = f"taken at {arrivals}, ids {ids}, submissions answered {answered}, proxy killed at {killed}"
        return Finding(rule=Rule.PROXY_DOUBLED if is_the_proxys else Rule.DOUBLED, subject=subject, text=text)

    def _told(self, message_id: str, subject: str, ends_as: str) -> Iterator[Finding]:
        for signal in (f"mail_{ends_as}", *_ALWAYS):
            if not any(run.ended_at for run in self._evidence.handled.get((message_id, signal), ())):
                yield Finding(rule=Rule.SIGNAL_LOST, subject=subject, text=f"{signal} of {message_id}")

    def _repetitions(self, message_id: str, runs: list[Run]) -> Iterator[Finding]:
        by_key: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            # What ends a mail does so once, whatever the time in the report.
            kind = run.key.partition(":")[0]
            by_key[run.key if kind == "deferred" else kind].append(run)
        for key, several in by_key.items():
            yield from self._twice(several, Rule.SIGNAL_TWICE, f"{key} of {message_id}")

    def _twice(self, runs: list[Run], rule: Rule, text: str) -> Iterator[Finding]:
        """A finding for each but the last: an exception where its process died in the midst of it."""
        runs = sorted(runs, key=lambda run: run.began_at)
        for run, following in pairwise(runs):
            is_excused = self._evidence.died_within(run, before=following.began_at)
            shown = f"{text}: at {run.began_at:.2f} by {run.pid}, at {following.began_at:.2f} by {following.pid}"
            yield Finding(rule=Rule.DIED_WITHIN if is_excused else rule, subject=run.subject, text=shown)

    def _status(self, message_id: str, subject: str, ends_as: str) -> Iterator[Finding]:
        if not self._evidence.statuses:
            return
        status = self._evidence.statuses.get(message_id)
        if status != ends_as:
            rule = Rule.ENDED_WRONG if status in ("sent", "error", "rejected", "bounced") else Rule.NOT_ENDED
            yield Finding(rule=rule, subject=subject, text=f"{message_id} is {status}, not {ends_as}")

    def _callback(self, mail: Mail, ends_as: str) -> Iterator[Finding]:
        name = f"on_{ends_as}"
        runs = self._evidence.ran.get((name, mail.number), [])
        subject = f"mail {mail.number}"
        if not any(run.ended_at for run in runs):
            rule = self._lost(Rule.CALLBACK_LOST, name, mail.number)
            yield Finding(rule=rule, subject=subject, text=f"{name}, ids {self._ids[mail.number]}")
        yield from self._publications(runs, Rule.CALLBACK_TWICE, f"{name} of {subject}")
        other = "on_error" if ends_as == "sent" else "on_sent"
        if self._evidence.ran.get((other, mail.number)):
            yield Finding(rule=Rule.CALLBACK_TWICE, subject=subject, text=f"{other} beside {name}")

    def _continuation(self, item: Item, name: str, number: int, stuck: Rule, twice: Rule) -> Iterator[Finding]:
        runs = self._evidence.ran.get((name, number), [])
        subject = f"item {item.number}"
        is_failed = (
            any(each in self._evidence.given_up for mail in item.mails for each in self._ids[mail.number])
            and item.shape is Shape.CHAIN
        )
        is_unbegun = item.shape is Shape.CHAIN and not self._ids[number] and self._broker == "redis"
        is_promised = item.number in self._evidence.accepted and not (is_failed or is_unbegun)
        if is_promised and not any(run.ended_at for run in runs):
            ids = [each for mail in item.mails for each in self._ids[mail.number]]
            text = f"{item.shape.value}, task {item.task_id}, ids {ids}"
            yield Finding(rule=self._lost(stuck, name, number), subject=subject, text=text)
        yield from self._publications(runs, twice, f"{name} of {subject}")

    def _has_run(self, name: str, number: int) -> bool:
        return any(run.ended_at for run in self._evidence.ran.get((name, number), []))

    def _lost(self, rule: Rule, name: str, number: int) -> Rule:
        """The rule that was broken where a task of the application has not run, by us or by its broker."""
        is_taken = (name, number) in self._evidence.taken
        return Rule.BROKER_LOST if self._broker == "redis" and is_taken else rule

    def _publications(self, runs: list[Run], rule: Rule, text: str) -> Iterator[Finding]:
        """Publishing twice is ours; a task that is run twice and was published once was given out again."""
        task_ids = sorted({run.subject for run in runs})
        for extra in task_ids[1:]:
            yield Finding(rule=rule, subject=extra, text=f"{text}: as another task than {task_ids[0]}")
        for task_id in task_ids:
            published = self._evidence.published.get(task_id, [])
            yield from self._twice(published, rule, f"{text}: published")
            again = [run for run in runs if run.subject == task_id]
            if len(again) > 1 and len(published) <= 1:
                yield Finding(rule=Rule.RUN_AGAIN, subject=task_id, text=f"{text}: {len(again)} times")

    def _outcomes(self, item: Item) -> Iterator[Finding]:
        got = self._evidence.outcomes.get(item.number)
        if got is None:
            return
        subject = f"item {item.number}"
        outcomes = {self._evidence.numbers.get(message_id): outcome for message_id, outcome in got.items()}
        for mail in item.mails:
            given_up = any(each in self._evidence.given_up for each in self._ids[mail.number])
            expected = "error" if given_up else mail.ends_as
            if outcomes.get(mail.number) != expected:
                text = f"mail {mail.number} is {outcomes.get(mail.number)}, not {expected}"
                yield Finding(rule=Rule.CHORD_WRONG, subject=subject, text=text)
