"""What a run cannot dispatch itself: it becomes a task, so that nothing is lost and no handler runs twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import OperationalError

from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.recording import Dispatched
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.stores.base import Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch import handing_over
from celery_mailproxy.dispatch.dispatcher import Dispatcher
from celery_mailproxy.dispatch.notifying import Notifier
from celery_mailproxy.dispatch.run import RUN_SECONDS, Run
from celery_mailproxy.dispatch.signals import mail_sent
from celery_mailproxy.errors import DispatchError, StoreError
from celery_mailproxy.tasks import DISPATCH_TIME_LIMITS

NOW = datetime.now(timezone.utc)
IDS = ("m0", "m1", "m2")


class Killed(BaseException):
    """The process dies."""


class Store(MemoryStore):
    """Has a clock of its own, and does not take marks when it is told so."""

    def __init__(self) -> None:
        self.now = NOW
        super().__init__(Retention(), clock=lambda: self.now)
        self.takes_marks = True

    def be_back(self) -> None:
        self.takes_marks = True

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        if not self.takes_marks:
            raise StoreError("away for a moment")
        super().mark_dispatched(dispatched)


class Postponed:
    """In place of the postponer: what has been handed over, and what becomes of it."""

    def __init__(self) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.refusals = 0

    def postpone(self, reports: Sequence[DeliveryReport], **options: Any) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OperationalError("the broker is away")
        self.tasks.append({"reports": list(reports), **options})

    def ids(self) -> list[list[str]]:
        return [[report.message_id for report in task["reports"]] for task in self.tasks]

    def run_all(self, dispatcher: Dispatcher) -> None:
        """As `dispatch_reports` does with each."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            dispatcher.mark(task.get("dispatched", ()))
            dispatcher.dispatch(task["reports"], run=Run(after=task.get("after"), tries=task.get("tries", 0)))


class Handler:
    """Connected to `mail_sent`; `act` is what happens for a message of that id."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.acts: dict[str, Callable[[], None]] = {}

    def __call__(self, report: DeliveryReport, **kwargs: Any) -> None:
        self.heard.append(report.message_id)
        self.acts.get(report.message_id, lambda: None)()


@pytest.fixture
def app() -> Celery:
    return Celery("handing-over", set_as_current=False, broker="memory://")


@pytest.fixture
def handler(app: Celery) -> Iterator[Handler]:
    handler = Handler()
    mail_sent.connect(handler, sender=app, weak=False)
    yield handler
    mail_sent.disconnect(handler, sender=app)


@pytest.fixture
def store() -> Store:
    store = Store()
    store.register([Delivery(message_id=each, created_at=NOW, updated_at=NOW, status=Status.QUEUED) for each in IDS])
    return store


@pytest.fixture
def postponed() -> Postponed:
    return Postponed()


@pytest.fixture
def dispatcher(app: Celery, store: Store, postponed: Any) -> Dispatcher:
    return Dispatcher(app=app, store=store, notifier=Notifier(app=app), postponer=postponed)


def sent(*message_ids: str) -> list[DeliveryReport]:
    return [
        DeliveryReport(kind=Kind.SENT, message_id=each, at=NOW + timedelta(seconds=n))
        for n, each in enumerate(message_ids)
    ]


def die() -> None:
    raise Killed


def test_what_another_run_dispatches_comes_back_later_and_is_told_once(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler
) -> None:
    def come_again() -> None:
        dispatcher.dispatch(sent(*IDS))

    # In the midst of the first run's handler.
    handler.acts["m0"] = come_again
    dispatcher.dispatch(sent(*IDS))
    assert handler.heard == list(IDS)
    (task,) = postponed.tasks
    assert postponed.ids() == [list(IDS)]
    # When the claim would be stale, as far as one knows by now.
    assert 1 <= task["countdown"] <= 15
    assert "after" not in task
    postponed.run_all(dispatcher)
    assert (handler.heard, postponed.tasks) == (list(IDS), [])


def test_what_a_killed_run_left_is_told_by_the_next_one_each_by_itself(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    handler.acts["m1"] = die
    with pytest.raises(Killed):
        dispatcher.dispatch(sent(*IDS))
    # The broker gives the task out again.
    dispatcher.dispatch(sent(*IDS))
    assert postponed.ids() == [["m1", "m2"]]
    store.now += timedelta(seconds=16)
    postponed.run_all(dispatcher)
    # What the run died with costs no other report.
    assert postponed.ids() == [["m1"], ["m2"]]
    assert handler.heard == ["m0", "m1"]
    postponed.tasks.reverse()
    with pytest.raises(Killed):
        postponed.run_all(dispatcher)
    assert handler.heard == ["m0", "m1", "m2", "m1"]
    assert "message m1: sent report is dispatched again, since the run that began to is gone" in caplog.text


def test_what_was_told_while_the_store_was_away_is_marked_first_and_not_told_again(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store
) -> None:
    def fail() -> None:
        store.takes_marks = False
        raise RuntimeError("and the store is away")

    handler.acts["m1"] = fail
    dispatcher.dispatch(sent(*IDS))
    (task,) = postponed.tasks
    assert postponed.ids() == [["m2"]]
    ((marked),) = task["dispatched"]
    assert (marked.message_id, len(marked.failed)) == ("m1", 1)
    # Even long after: the mark comes before anything else.
    store.now += timedelta(hours=1)
    store.takes_marks = True
    postponed.run_all(dispatcher)
    assert (handler.heard, postponed.tasks) == (list(IDS), [])
    assert store.failed() == ["m1"]
    assert store.undispatched(before=store.now + timedelta(days=1)) == []


def test_a_time_limit_that_strikes_while_a_report_is_marked_runs_no_handler_again(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strike(dispatched: Any) -> None:
        raise SoftTimeLimitExceeded

    with monkeypatch.context() as patched:
        patched.setattr(store, "mark_dispatched", strike)
        dispatcher.dispatch(sent("m0", "m1"))
    assert postponed.ids() == [["m1"]]
    postponed.run_all(dispatcher)
    assert handler.heard == ["m0", "m1"]


def test_a_soft_time_limit_in_a_handler_fails_that_handler_and_costs_no_other_report(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store
) -> None:
    def strike() -> None:
        raise SoftTimeLimitExceeded

    handler.acts["m0"] = strike
    dispatcher.dispatch(sent(*IDS))
    assert handler.heard == list(IDS)
    assert store.failed() == ["m0"]
    assert postponed.tasks == []


def test_a_run_that_handlers_have_made_slow_leaves_the_rest_to_another(
    app: Celery, postponed: Any, handler: Handler, store: Store
) -> None:
    moment = 0.0

    def take_long() -> None:
        nonlocal moment
        moment += RUN_SECONDS + 1

    notifier = Notifier(app=app)
    dispatcher = Dispatcher(app=app, store=store, notifier=notifier, postponer=postponed, monotonic=lambda: moment)
    handler.acts = dict.fromkeys(IDS, take_long)
    dispatcher.dispatch(sent(*IDS))
    assert handler.heard == ["m0"]
    assert postponed.ids() == [["m1", "m2"]]
    assert postponed.tasks[0]["countdown"] == 0
    postponed.run_all(dispatcher)
    postponed.run_all(dispatcher)
    assert handler.heard == list(IDS)
    assert postponed.tasks == []


def test_what_meets_an_unforeseen_error_is_tried_again_ever_later(
    dispatcher: Dispatcher,
    postponed: Postponed,
    handler: Handler,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = Notifier.call
    is_broken = True

    def broken(self: Notifier, report: DeliveryReport, *args: Any, **kwargs: Any) -> list[str]:
        if is_broken and report.message_id == "m1":
            raise TypeError("something of ours is wrong")
        return call(self, report, *args, **kwargs)

    monkeypatch.setattr(Notifier, "call", broken)
    dispatcher.dispatch(sent(*IDS))
    assert handler.heard == ["m0", "m2"]
    pauses = []
    for _ in range(12):
        assert postponed.ids() == [["m1"]]
        pauses.append(postponed.tasks[0]["countdown"])
        # While it waits nobody else takes it over: a sweep would make two of it each time.
        store.now += timedelta(seconds=pauses[-1])
        assert store.undispatched(before=store.now) == []
        postponed.run_all(dispatcher)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == 300.0
    is_broken = False
    postponed.run_all(dispatcher)
    assert handler.heard == ["m0", "m2", "m1"]


@pytest.mark.parametrize("is_eager", [False, True])
def test_where_nothing_can_be_handed_over_it_is_raised_and_let_go_of(
    app: Celery, dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, is_eager: bool
) -> None:
    app.conf.task_always_eager = is_eager
    run = Run(hands_over=is_eager)
    store.takes_marks = False
    with pytest.raises(DispatchError):
        dispatcher.dispatch(sent("m0", "m1"), run=run)
    store.takes_marks = True
    # Only the note of what has been dispatched may go to a task: it needs no handler.
    assert postponed.ids() == ([] if is_eager else [[]])
    # The rest is free at once, and what has been dispatched is not.
    with pytest.raises(DispatchError):
        dispatcher.dispatch(sent("m0", "m1"), run=Run(hands_over=is_eager))
    assert handler.heard == ["m0", "m1"]
    postponed.run_all(dispatcher)


@pytest.fixture
def breaths(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens in each pause of a run that tries to leave a note; after these its patience is over."""
    acts: list[Callable[[], None]] = []
    moment = 0.0

    def sleep(seconds: float) -> None:
        nonlocal moment
        if not acts:
            moment += 1000
        else:
            acts.pop(0)()

    monkeypatch.setattr(handing_over, "time", SimpleNamespace(monotonic=lambda: moment, sleep=sleep))
    return acts


def away(dispatcher: Dispatcher, postponed: Postponed, store: Store, handler: Handler) -> None:
    """Let store and broker fail together, in the handler of the first."""

    def fail() -> None:
        store.takes_marks = False
        postponed.refusals = 1000

    handler.acts["m0"] = fail


def come_back(store: Store, postponed: Postponed, *, takes_marks: bool) -> Callable[[], None]:
    def act() -> None:
        store.takes_marks = takes_marks
        postponed.refusals = 0

    return act


def nothing() -> None:
    pass


@pytest.mark.parametrize("hands_over", [True, False])
def test_where_store_and_broker_are_away_a_run_waits_for_one_of_them(
    dispatcher: Dispatcher,
    postponed: Postponed,
    handler: Handler,
    store: Store,
    breaths: list[Callable[[], None]],
    hands_over: bool,
) -> None:
    away(dispatcher, postponed, store, handler)
    breaths += [nothing, nothing, come_back(store, postponed, takes_marks=False)]
    run = Run(hands_over=hands_over, begun_at=0.0)
    if hands_over:
        dispatcher.dispatch(sent(*IDS), run=run)
    else:
        with pytest.raises(DispatchError):
            dispatcher.dispatch(sent(*IDS), run=run)
    assert (breaths, run.unmarked) == ([], [])
    assert postponed.ids() == [["m1", "m2"] if hands_over else []]
    store.takes_marks = True
    store.now += timedelta(hours=1)
    postponed.run_all(dispatcher)
    # What the proxy repeats.
    dispatcher.dispatch(sent(*IDS), run=Run(hands_over=False))
    assert handler.heard == list(IDS)


def test_a_store_that_comes_back_before_the_broker_gets_the_mark(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, breaths: list[Callable[[], None]]
) -> None:
    away(dispatcher, postponed, store, handler)

    breaths.append(store.be_back)
    run = Run(begun_at=0.0)
    with pytest.raises(OperationalError):
        dispatcher.dispatch(sent(*IDS), run=run)
    assert run.unmarked == []
    postponed.refusals = 0
    dispatcher.dispatch(sent(*IDS), run=Run(after=run.claim))
    assert handler.heard == list(IDS)


def test_a_run_whose_note_nobody_takes_keeps_it_for_the_next_one(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, breaths: list[Callable[[], None]]
) -> None:
    away(dispatcher, postponed, store, handler)
    run = Run(begun_at=0.0)
    with pytest.raises(OperationalError):
        dispatcher.dispatch(sent(*IDS), run=run)
    assert [each.message_id for each in run.unmarked] == ["m0"]
    store.takes_marks, postponed.refusals = True, 0
    dispatcher.mark(run.unmarked)
    dispatcher.dispatch(sent(*IDS), run=Run(after=run.claim))
    assert handler.heard == list(IDS)


def test_a_run_that_is_near_its_time_limit_tries_once(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, breaths: list[Callable[[], None]]
) -> None:
    away(dispatcher, postponed, store, handler)
    breaths.append(nothing)
    with pytest.raises(OperationalError):
        dispatcher.dispatch(sent(*IDS), run=Run(begun_at=-RUN_SECONDS - 195.0))
    assert breaths == [nothing]


def test_the_longest_run_ends_before_the_hard_limit_of_its_task() -> None:
    assert DISPATCH_TIME_LIMITS["time_limit"] > handing_over._LONGEST_RUN_SECONDS + 10


def test_an_inline_run_that_marks_after_all_has_left_nothing(
    dispatcher: Dispatcher, postponed: Postponed, handler: Handler, store: Store, breaths: list[Callable[[], None]]
) -> None:
    away(dispatcher, postponed, store, handler)

    breaths.append(store.be_back)
    dispatcher.dispatch(sent("m0"), run=Run(hands_over=False, begun_at=0.0))
    assert store.undispatched(before=store.now + timedelta(days=1)) == []


def test_what_nobody_listens_to_is_marked_together_and_needs_no_task(
    dispatcher: Dispatcher, postponed: Postponed, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks: list[int] = []
    mark = store.mark_dispatched

    def counted(dispatched: Sequence[Dispatched]) -> None:
        marks.append(len(dispatched))
        mark(dispatched)

    monkeypatch.setattr(store, "mark_dispatched", counted)
    dispatcher.dispatch(sent(*IDS))
    assert (marks, postponed.tasks) == ([3], [])
