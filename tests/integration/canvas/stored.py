"""What holds where a result can be asked for at any time, by anybody."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_mailproxy.deliveries.suspension import SuspensionState

from ...harness.waiting import PATIENCE_SECONDS
from .canvas import Canvas


@pytest.mark.smoke
def test_the_states_of_a_mail(canvas: Canvas) -> None:
    result = canvas.mail("silent").delay()
    canvas.wait_until(lambda: result.state == "QUEUED", what="the state QUEUED")
    assert result.info["message_id"] == result.id
    canvas.end(result, deferred_ts=int(time.time()), deferred_reason="451 later")
    canvas.wait_until(lambda: result.state == "DEFERRED", what="the state DEFERRED")
    assert (result.info["message_id"], result.info["reason"]) == (result.id, "451 later")
    assert result.info["attempts"] == 1
    canvas.report(result)
    canvas.wait_until(lambda: result.state == "SUCCESS", what="the state SUCCESS")
    assert (result.info["message_id"], result.info["kind"]) == (result.id, "sent")


def test_a_task_that_is_revoked_shows_so(canvas: Canvas) -> None:
    result = canvas.mail("silent").delay()
    canvas.wait_state(result, SuspensionState.WAITING)
    assert canvas.app.control.revoke(result.id, reply=True, limit=1, timeout=PATIENCE_SECONDS)
    canvas.report(result)
    canvas.wait_told(result, "task_revoked")
    canvas.wait_until(lambda: result.state == "REVOKED", what="the state REVOKED")
    canvas.wait_state(result, SuspensionState.DONE)


@pytest.mark.smoke
def test_a_deferred_report_never_lands_on_the_final_one(canvas: Canvas) -> None:
    now = int(time.time())
    results = [canvas.mail("silent").delay() for _ in range(20)]
    expected = []
    with ThreadPoolExecutor(2) as pool:
        for n, result in enumerate(results):
            canvas.wait_state(result, SuspensionState.WAITING)
            # Celery protects some states in some backends; FAILURE is ours to protect.
            end = {"sent_ts": now} if n % 2 else {"error_ts": now, "error": "550 no"}
            expected.append("SUCCESS" if n % 2 else "FAILURE")
            for fields in ({"deferred_ts": now, "deferred_reason": "451"}, end):
                pool.submit(canvas.report, result, **fields)
    for result in results:
        canvas.get(result, propagate=False)
        canvas.wait_state(result, SuspensionState.DONE)
    canvas.stack.drain()
    assert [result.state for result in results] == expected


@pytest.mark.smoke
@pytest.mark.parametrize("state", ["QUEUED", "DEFERRED"])
def test_an_extended_result_tells_of_its_task_while_its_mail_waits(canvas: Canvas, state: str) -> None:
    mail = canvas.mail("silent")
    mail.stamp(customer="7")
    result = mail.delay()
    canvas.wait_until(lambda: result.state == "QUEUED", what="the state QUEUED")
    if state == "DEFERRED":
        canvas.end(result, deferred_ts=int(time.time()), deferred_reason="451 later")
        canvas.wait_until(lambda: result.state == "DEFERRED", what="the state DEFERRED")
    assert (result.name, result.queue) == ("celery_mailproxy.deliver_via_proxy", canvas.stack.queue)
    assert (result.args, result.kwargs["to"]) == ([], ["silent@example.com"])
    assert result.worker.startswith("worker-")
    if canvas.backend == "redis":
        assert result._get_task_meta()["customer"] in ("7", ["7"])
    canvas.report(result)
    canvas.wait_state(result, SuspensionState.DONE)


@pytest.mark.smoke
def test_an_extended_result_tells_of_its_task(canvas: Canvas) -> None:
    mail = canvas.mail("slow")
    mail.stamp(customer="7")
    result = mail.delay()
    assert canvas.get(result)["kind"] == "sent"
    assert result.name == "celery_mailproxy.deliver_via_proxy"
    assert result.kwargs["to"] == ["slow@example.com"]
    assert result.queue == canvas.stack.queue
    assert result.worker.startswith("worker-")
    if canvas.backend == "redis":
        # A row has columns, and none for stamps.
        assert result._get_task_meta()["customer"] in ("7", ["7"])
