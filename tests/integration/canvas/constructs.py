"""What holds with every result backend, and with none."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import chain, group

from celery_mailproxy import DeliveryReport, Kind, deliver_many_via_proxy
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.dispatch.resumer import resumer_of
from celery_mailproxy.runtime import get_runtime
from celery_mailproxy.testing import FakeProxy

from ...harness.heard_events import heard_events
from ...harness.waiting import PATIENCE_SECONDS
from .canvas import Canvas

pytestmark = [
    pytest.mark.integration,
    # An rpc:// client over Redis leaves a connection of its channel to the garbage collector: in a later test, that is.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

S = SuspensionState


@pytest.mark.smoke
def test_a_mail_that_is_sent_and_one_that_is_not(canvas: Canvas) -> None:
    good, bad = canvas.mail().delay(), canvas.mail("bad").delay()
    canvas.wait_sent(good)
    canvas.wait_failed(bad)


# Chains


@pytest.mark.smoke
def test_a_chain_goes_on_when_the_mail_is_sent(canvas: Canvas) -> None:
    then = canvas.once()
    result = chain(canvas.mail("slow"), then).apply_async()
    report = canvas.wait(then)
    assert (report["kind"], report["message_id"]) == ("sent", result.parent.id)
    canvas.returns(result, then.kwargs["number"])


def test_a_mail_in_a_chain_takes_its_content_from_the_task_before(canvas: Canvas, proxy: FakeProxy) -> None:
    then = canvas.once()
    mail = canvas.app.tasks["celery_mailproxy.deliver_via_proxy"].s(to=["ann@example.com"])
    result = chain(canvas.task("render", 7), mail, then).apply_async()
    assert canvas.wait(then)["message_id"] == result.parent.id
    canvas.returns(result, then.kwargs["number"])
    assert [m["subject"] for m in proxy.received if m["id"] == result.parent.id] == ["Rendered 7"]


def test_a_chain_of_two_mails(canvas: Canvas) -> None:
    between, then = canvas.once(), canvas.once()
    result = chain(canvas.mail("slow"), between, canvas.mail("slow"), then).apply_async()
    assert canvas.wait(between)["message_id"] != canvas.wait(then)["message_id"]
    canvas.returns(result, then.kwargs["number"])


def test_a_chain_ends_where_its_mail_fails(canvas: Canvas) -> None:
    at_once = chain(canvas.mail("bad"), canvas.never()).apply_async()
    before = canvas.once()
    later = chain(before, canvas.mail("bad"), canvas.never(), canvas.mail()).apply_async(args=("begin",))
    canvas.wait_failed(at_once.parent, later.parent.parent)
    assert canvas.ran(before) == ["begin"]


def test_a_chain_that_ends_in_a_group(canvas: Canvas) -> None:
    members = [canvas.once(), canvas.once()]
    result = chain(canvas.mail("slow"), group(members)).apply_async()
    for member in members:
        assert canvas.wait(member)["kind"] == "sent"
    canvas.returns(result, [member.kwargs["number"] for member in members])


@pytest.mark.smoke
def test_a_chain_that_ends_in_a_group_of_mails(canvas: Canvas) -> None:
    members = [canvas.once(), canvas.once()]
    chain(canvas.mail("slow"), group(chain(canvas.mail(), each) for each in members)).apply_async()
    assert [canvas.wait(member)["kind"] for member in members] == ["sent", "sent"]


# Groups


def test_a_group_of_mails_and_chains(canvas: Canvas) -> None:
    then = canvas.once()
    result = group(canvas.mail("slow"), canvas.mail(), chain(canvas.mail(), then)).apply_async()
    slow, at_once, in_chain = result.results
    canvas.wait_sent(slow, at_once)
    assert canvas.wait(then)["message_id"] == in_chain.parent.id


def test_a_group_of_which_one_mail_fails(canvas: Canvas) -> None:
    good, bad = group(canvas.mail("slow"), canvas.mail("bad")).apply_async().results
    canvas.wait_failed(bad)
    canvas.wait_sent(good)


def test_a_campaign_is_a_group(canvas: Canvas) -> None:
    mails = [{"to": [f"{name}@example.com"], "subject": "S", "body": "B"} for name in ("ann", "slow", "bad")]
    results = deliver_many_via_proxy(mails, app=canvas.app).apply_async().results
    for result in results[:2]:
        assert canvas.wait_told(result, "task_success")["value"]["kind"] == "sent"
    canvas.wait_failed(results[2])


# Links


def test_links_one_many_and_a_group(canvas: Canvas) -> None:
    links = [canvas.once() for _ in range(5)]
    one = canvas.mail("slow").apply_async(link=links[0])
    many = canvas.mail("slow").apply_async(link=links[1:3])
    whole_group = canvas.mail("slow").apply_async(link=group(links[3:]))
    came_from = [canvas.wait(link)["message_id"] for link in links]
    assert came_from == [one.id, many.id, many.id, whole_group.id, whole_group.id]


@pytest.mark.smoke
def test_link_errors_of_the_new_and_of_the_old_style(canvas: Canvas) -> None:
    errbacks = [canvas.task("failed"), canvas.task("failed_old")]
    bad = canvas.mail("bad").apply_async(link=canvas.never(), link_error=errbacks)
    good = canvas.mail().apply_async(link_error=errbacks)
    assert canvas.wait_told(bad, "failed")["error"] == "DeliveryError"
    canvas.wait_told(bad, "failed_old")
    canvas.wait_sent(good)
    assert [len(canvas.told(bad, name)) for name in ("failed", "failed_old")] == [1, 1]
    assert [len(canvas.told(good, name)) for name in ("failed", "failed_old")] == [0, 0]


# Options of the task's message


@pytest.mark.smoke
def test_what_the_message_said_holds_for_both_runs(canvas: Canvas) -> None:
    mail = canvas.mail("silent")
    mail.stamp(customer="7")
    result = mail.apply_async(headers={"mine": "x"}, priority=3, countdown=0.5)
    canvas.end(result)
    canvas.wait_sent(result)
    runs = canvas.told(result, "task_prerun")
    assert [(run["mine"], run["priority"]) for run in runs] == [("x", 3)] * 2
    assert [run["stamps"]["customer"] for run in runs] in ([["7"]] * 2, ["7"] * 2)


_EXPIRY_SECONDS = 30


@pytest.fixture(scope="module", autouse=True)
def expiring(request: pytest.FixtureRequest, canvas: Canvas) -> tuple[Any, Any, float] | None:
    """A mail, its link and when it expires: begun with the first test, so that nobody waits for it in the last."""
    last = test_a_mail_that_expires_before_its_report_still_ends.__name__
    if not any(item.name == last for item in request.session.items if item.parent is request.node):
        return None
    link = canvas.once()
    # Long enough for the first run to begin on a busy machine.
    result = canvas.mail("silent").apply_async(expires=_EXPIRY_SECONDS, link=link)
    return result, link, time.monotonic() + _EXPIRY_SECONDS


@pytest.mark.smoke
def test_ignored_results_still_go_on(canvas: Canvas) -> None:
    links = [canvas.once(), canvas.once()]
    by_call = canvas.mail("late").apply_async(ignore_result=True, link=links[0])
    by_task = canvas.own("unheard", "late").apply_async(link=links[1])
    for link in links:
        canvas.wait(link)
    if canvas.has_results:
        assert (by_call.state, by_task.state) == ("PENDING", "PENDING")


def test_a_task_that_replaces_itself_by_a_mail(canvas: Canvas) -> None:
    first, then = canvas.once(), canvas.once()
    result = chain(first, canvas.task("replaced", to="slow@example.com"), then).apply_async(args=("begin",))
    assert canvas.wait(then)["message_id"] == result.parent.id
    canvas.returns(result, then.kwargs["number"])


# Hooks, signals, events


def test_hooks_and_signals_of_a_task_of_ones_own(canvas: Canvas) -> None:
    good, bad = (canvas.own("welcome", "silent").apply_async() for _ in range(2))
    canvas.end(good)
    canvas.end(bad, error="no")
    canvas.wait_sent(good)
    canvas.wait_failed(bad)
    for result in (good, bad):
        canvas.wait_until(lambda: len(canvas.told(result, "task_postrun")) == 2, what="both runs")  # noqa: B023
    hooks = {event["id"]: event["name"] for event in canvas.events if event["what"] == "hook"}
    assert (hooks[good.id], hooks[bad.id]) == ("on_success", "on_failure")
    names = ("task_prerun", "task_success", "task_failure", "on_success", "on_failure", "on_retry")
    assert [len(canvas.told(good, name)) for name in names] == [2, 1, 0, 1, 0, 0]
    assert [len(canvas.told(bad, name)) for name in names] == [2, 0, 1, 0, 1, 0]


def has_ended(events: list[dict[str, Any]], result: Any) -> bool:
    return any((event["type"], event.get("uuid")) == ("task-succeeded", result.id) for event in events)


@pytest.mark.smoke
def test_events_as_flower_sees_them(canvas: Canvas) -> None:
    expected = {"received": 2, "started": 2, "queued": 1, "deferred": 1, "succeeded": 1}
    state = canvas.app.events.State()
    with heard_events(canvas.app) as seen:
        result = canvas.mail("silent").delay()

        def count() -> Counter[str]:
            return Counter(event["type"].removeprefix("task-") for event in seen if event.get("uuid") == result.id)

        canvas.wait_state(result, S.WAITING)
        canvas.report(result, deferred_ts=int(time.time()), deferred_reason="451 later")
        canvas.wait_until(lambda: count()["deferred"], what="the event of the deferral")
        canvas.report(result)
        canvas.wait_until(lambda: count().total() >= 7, what="all events")
        # What comes after the last event of a task comes before that of a later task.
        later = canvas.once().apply_async()
        canvas.wait_until(lambda: has_ended(seen, later), what="the event of a later task's end")
        assert count() == expected
        for event in seen:
            state.event(event)
        assert state.tasks[result.id].state == "SUCCESS"


# Reports, at the right and at the wrong time


def test_duplicated_and_contradicting_reports_end_it_once(canvas: Canvas) -> None:
    then = canvas.once()
    result = canvas.mail("silent").apply_async(link=then)
    canvas.wait_state(result, S.WAITING)
    canvas.report(result, result)
    canvas.report(result)
    canvas.report(result, error="no")
    canvas.report(result, deferred_ts=int(time.time()), deferred_reason="451 late")
    canvas.wait_sent(result)
    canvas.wait(then)


def test_reports_that_overtake_the_answer_in_any_order(canvas: Canvas) -> None:
    now = int(time.time())
    links = [canvas.once(), canvas.once()]
    with canvas.relay.hold():
        results = [canvas.mail("silent").apply_async(link=link) for link in links]
        for result in results:
            canvas.wait_state(result, S.NEW)
        canvas.report(*results)
        for result in results:
            canvas.wait_state(result, S.EARLY)
        canvas.report(results[0], deferred_ts=now - 5, deferred_reason="451 later")
        canvas.report(results[1])
    canvas.wait_sent(*results)
    for link in links:
        canvas.wait(link)


def test_two_copies_of_the_resuming_message_give_one_result(canvas: Canvas) -> None:
    then = canvas.once()
    result = canvas.mail("silent").apply_async(link=then)
    canvas.wait_state(result, S.WAITING)
    runtime = get_runtime(canvas.app)
    report = DeliveryReport(kind=Kind.SENT, message_id=result.id, at=datetime.now(timezone.utc))
    (recorded,) = runtime.store.record([report], claim="the first dispatcher")
    suspension = recorded.delivery.suspension  # type: ignore[union-attr]
    assert suspension is not None
    for _ in range(2):
        resumer_of(runtime).publish(result.id, suspension)
    canvas.wait_sent(result)
    canvas.wait(then)


@pytest.mark.smoke
def test_a_task_that_is_revoked_while_its_mail_is_under_way(canvas: Canvas) -> None:
    result = canvas.mail("silent").apply_async(link=canvas.never())
    chained = chain(canvas.mail("silent"), canvas.never()).apply_async()
    revoked = (result, chained.parent)
    for each in revoked:
        canvas.wait_state(each, S.WAITING)
    # The answer says that the worker knows.
    assert canvas.app.control.revoke([each.id for each in revoked], reply=True, limit=1, timeout=PATIENCE_SECONDS)
    canvas.report(*revoked)
    for each in revoked:
        canvas.wait_told(each, "task_revoked")


# When things fail


@pytest.mark.smoke
def test_a_submission_that_is_retried(canvas: Canvas, proxy: FakeProxy) -> None:
    worker, link = canvas.stack.worker, canvas.once()
    before = worker.log.count("Retry in")
    with proxy.down():
        result = canvas.mail().apply_async(link=link)
        canvas.wait_until(lambda: worker.log.count("Retry in") >= before + 2, what="two retries")
    canvas.wait_sent(result)
    canvas.wait(link)


def test_a_submission_that_fails_for_good(canvas: Canvas) -> None:
    # The task's own limit is the lower one.
    result = canvas.own("welcome", server="nowhere").apply_async(link=canvas.never(), link_error=canvas.task("failed"))
    canvas.wait_failed(result)
    canvas.wait_told(result, "failed")
    assert len(canvas.told(result, "on_retry")) == 2
    canvas.wait_state(result, S.DONE)


def test_killed_at_each_of_five_points_at_once(canvas: Canvas) -> None:
    """Before the POST, after it, after the mark, with the report first, in the resumed run: one kill -9 for all."""
    worker = canvas.stack.worker
    flows = [(canvas.once(), canvas.once()) for _ in range(5)]

    def begin(index: int, to: str = "silent") -> Any:
        link, then = flows[index]
        mail = canvas.mail(to)
        mail.link(link)
        return chain(mail, then).apply_async().parent

    worker.stop()
    marked = begin(2)
    hung = [canvas.stack.hang_at("postrun", marked.id)]
    worker.start()
    resumed = begin(4)
    canvas.wait_state(resumed, S.WAITING)
    hung.append(canvas.stack.hang_at("publish", resumed.id))
    canvas.report(resumed)
    with ExitStack() as held:
        held.enter_context(canvas.relay.hold())
        posted, early = begin(1), begin(3)
        canvas.wait_until(lambda: _has(canvas, posted) and _has(canvas, early), what="the submissions")
        canvas.report(early)
        canvas.wait_state(early, S.EARLY)
        came = canvas.relay.came
        held.enter_context(canvas.relay.drop())
        before_post = begin(0, "ann")
        canvas.wait_until(lambda: canvas.relay.came > came, what="the submission that is dropped")
        canvas.wait_until(lambda: all(each.exists() for each in hung), what="the others")
        canvas.stack.kill_worker()
    worker.start()
    canvas.report(posted, marked)
    results = (before_post, posted, marked, early, resumed)
    canvas.wait_sent(*results)
    for link, then in flows:
        canvas.wait(link)
        canvas.wait(then)
    for result in results:
        canvas.wait_state(result, S.DONE)


def _has(canvas: Canvas, result: Any) -> bool:
    return any(message["id"] == result.id for message in canvas.proxy.received)


def test_a_mail_that_expires_before_its_report_still_ends(canvas: Canvas, expiring: tuple[Any, Any, float]) -> None:
    result, link, expires_at = expiring
    canvas.wait_state(result, S.WAITING)
    canvas.wait_until(lambda: time.monotonic() > expires_at, what="the time at which the task expires")
    canvas.report(result)
    canvas.wait_sent(result)
    canvas.wait(link)
