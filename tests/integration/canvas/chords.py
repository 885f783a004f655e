"""What holds with backends that have chords. A `once()` as the body is called with the results of the header."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError

from celery_mailproxy import DeliveryError, deliver_many_via_proxy
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.suspension import SuspensionState
from celery_mailproxy.testing import FakeProxy

from .canvas import Canvas


def kinds(reports: list[dict[str, Any]]) -> list[str]:
    return [report["kind"] for report in reports]


def mails(*names: str) -> list[dict[str, Any]]:
    return [{"to": [f"{name}@example.com"], "subject": f"For {name}", "body": "B"} for name in names]


def _flat(results: Any) -> list[dict[str, Any]]:
    return [results] if isinstance(results, dict) else [each for result in results for each in _flat(result)]


def assert_fails(canvas: Canvas, result: Any) -> None:
    with pytest.raises((ChordError, DeliveryError)):
        canvas.get(result)


@pytest.mark.smoke
def test_a_chord_is_told_once_when_all_mails_have_ended(canvas: Canvas) -> None:
    body = canvas.once()
    names = ["late", "slow", "ann", "ann", "slow"]
    result = chord([canvas.mail(name) for name in names], body).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    reports = canvas.wait(body)
    assert [report["message_id"] for report in reports] == [each.id for each in result.parent.results]
    assert kinds(reports) == ["sent"] * 5


@pytest.mark.smoke
def test_a_chord_with_a_failing_mail_fails_and_says_so(canvas: Canvas) -> None:
    body = canvas.never()
    body.on_error(canvas.task("failed"))
    result = chord([canvas.mail("slow"), canvas.mail("bad")], body).apply_async()
    assert_fails(canvas, result)
    canvas.wait_told(result, "failed")
    canvas.wait_sent(result.parent.results[0])
    assert len(canvas.told(result, "failed")) == 1


def test_a_group_within_a_chain(canvas: Canvas) -> None:
    then = canvas.once()
    result = chain(canvas.mail("slow"), group(canvas.mail("slow"), canvas.mail()), then).apply_async()
    assert canvas.get(result) == then.kwargs["number"]
    assert kinds(canvas.wait(then)) == ["sent", "sent"]


def test_a_chord_whose_body_is_a_mail_in_a_chain(canvas: Canvas) -> None:
    then = canvas.once()
    result = chain(group(canvas.mail("slow"), canvas.mail()), canvas.mail("slow"), then).apply_async()
    assert canvas.get(result) == then.kwargs["number"]
    assert canvas.wait(then)["kind"] == "sent"


def test_two_groups_in_a_chain(canvas: Canvas) -> None:
    then = canvas.once()
    first, second = (group(canvas.mail("slow"), canvas.mail()) for _ in range(2))
    assert canvas.get(chain(first, second, then).apply_async()) == then.kwargs["number"]
    assert kinds(canvas.wait(then)) == ["sent", "sent"]


def test_chains_in_a_group_in_a_chord(canvas: Canvas) -> None:
    between, body = canvas.once(), canvas.once()
    inner = group(chain(canvas.task("render", 1), canvas.mail("slow")), chain(canvas.mail(), between, canvas.mail()))
    result = chord(group(inner, canvas.mail("slow")), body).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    # One result of the group within, which is a list, and one of the mail beside it.
    assert kinds(_flat(canvas.wait(body))) == ["sent"] * 3
    assert canvas.wait(between)["kind"] == "sent"


def test_nested_chords(canvas: Canvas) -> None:
    inner_body, body = canvas.once(), canvas.once()
    inner = chord([canvas.mail("slow"), canvas.mail()], inner_body)
    mail_body = chord([canvas.mail(), canvas.mail()], canvas.mail("slow"))
    result = chord([inner, mail_body, canvas.mail("slow")], body).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    number, *reports = canvas.wait(body)
    assert number == inner_body.kwargs["number"]
    assert kinds(reports) == ["sent", "sent"]
    assert kinds(canvas.wait(inner_body)) == ["sent", "sent"]


def test_a_header_chain_that_fails_midway(canvas: Canvas) -> None:
    before, body = canvas.once(), canvas.never()
    body.on_error(canvas.task("failed"))
    header = [chain(before, canvas.mail("bad"), canvas.never()), canvas.mail()]
    result = chord(header, body).apply_async()
    assert_fails(canvas, result)
    canvas.wait_told(result, "failed")


def test_reports_in_duplicate_count_once_in_a_chord(canvas: Canvas) -> None:
    body = canvas.once()
    result = chord([canvas.mail("silent") for _ in range(3)], body).apply_async()
    first, second, third = result.parent.results
    for each in (first, second, third):
        canvas.wait_state(each, SuspensionState.WAITING)
    for each in (first, second):
        canvas.report(each, each)
        canvas.report(each)
    canvas.wait_sent(first, second)
    canvas.report(first, error="no")
    # Not by draining: some result backends have a task that asks again and again whether the chord has ended.
    canvas.wait_until(lambda: canvas.stack.delivery(first.id).history[-1].report.kind is Kind.ERROR, what="the error")
    assert canvas.ran(body) == []
    canvas.report(third)
    assert canvas.get(result) == body.kwargs["number"]


def test_reports_that_overtake_the_answer_in_a_chord(canvas: Canvas) -> None:
    body = canvas.once()
    with canvas.relay.hold():
        result = chord([canvas.mail("silent"), canvas.mail("silent")], body).apply_async()
        for each in result.parent.results:
            canvas.wait_state(each, SuspensionState.NEW)
        canvas.report(*result.parent.results)
        for each in result.parent.results:
            canvas.wait_state(each, SuspensionState.EARLY)
    assert canvas.get(result) == body.kwargs["number"]


def test_a_submission_that_is_retried_in_a_chord(canvas: Canvas, proxy: FakeProxy) -> None:
    worker, body = canvas.stack.worker, canvas.once()
    before = worker.log.count("Retry in")
    with proxy.down():
        result = chord([canvas.mail(), canvas.mail()], body).apply_async()
        canvas.wait_until(lambda: worker.log.count("Retry in") >= before + 2, what="two retries")
    assert canvas.get(result) == body.kwargs["number"]


def test_a_submission_that_fails_for_good_in_a_chord(canvas: Canvas) -> None:
    result = chord([canvas.own("welcome", server="nowhere"), canvas.mail()], canvas.never()).apply_async()
    assert_fails(canvas, result)


def test_a_task_that_replaces_itself_by_a_mail_in_a_chord(canvas: Canvas) -> None:
    body = canvas.once()
    replaced = canvas.task("replaced", None, to="slow@example.com")
    assert canvas.get(chord([replaced, canvas.mail()], body).apply_async()) == body.kwargs["number"]
    assert kinds(canvas.wait(body)) == ["sent", "sent"]


def test_killed_in_a_chord(canvas: Canvas) -> None:
    body = canvas.once()
    result = chord([canvas.mail("silent") for _ in range(4)], body).apply_async()
    waiting, resumed, ended, reported = result.parent.results
    for each in result.parent.results:
        canvas.wait_state(each, SuspensionState.WAITING)
    canvas.report(ended)
    canvas.wait_sent(ended)
    canvas.wait_told(resumed, "task_postrun")
    hung = canvas.stack.hang_at("postrun", resumed.id)
    canvas.report(resumed)
    # Its result is stored and counted, and the broker still waits for the acknowledgement.
    canvas.wait_until(hung.exists, what="the end of a resumed run")
    canvas.stack.kill_worker()
    canvas.stack.worker.start()
    canvas.report(waiting, reported)
    assert canvas.get(result) == body.kwargs["number"]
    assert kinds(canvas.wait(body)) == ["sent"] * 4


@pytest.mark.smoke
def test_a_campaign_of_several_chunks(canvas: Canvas) -> None:
    body = canvas.once()
    result = chord(deliver_many_via_proxy(mails(*["ann"] * 45), app=canvas.app), body).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    assert kinds(canvas.wait(body)) == ["sent"] * 45


def test_a_campaign_with_every_outcome(canvas: Canvas) -> None:
    body, failing = canvas.once(), canvas.never()
    collected = deliver_many_via_proxy(mails("ann", "slow", "bad", "late"), collect=True, app=canvas.app)
    result = chord(collected, body).apply_async()
    failed = chord(deliver_many_via_proxy(mails("ann", "bad"), app=canvas.app), failing).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    assert Counter(each["outcome"] for each in canvas.wait(body)) == {"sent": 3, "error": 1}
    assert_fails(canvas, failed)


def test_two_hundred_at_once(canvas: Canvas) -> None:
    body = canvas.once()
    result = chord([canvas.mail() for _ in range(200)], body).apply_async()
    assert canvas.get(result) == body.kwargs["number"]
    assert kinds(canvas.wait(body)) == ["sent"] * 200
