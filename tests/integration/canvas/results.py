"""What holds where there are results: their states, values and errors, as whoever waits gets them."""

from __future__ import annotations

import pytest
from celery import chain, group
from celery.exceptions import TaskRevokedError

from celery_mailproxy import DeliveryError
from celery_mailproxy.deliveries.suspension import SuspensionState

from ...harness.waiting import PATIENCE_SECONDS
from .canvas import Canvas


@pytest.mark.smoke
def test_the_error_says_why_the_mail_was_not_delivered(canvas: Canvas) -> None:
    result = canvas.mail("bad").delay()
    with pytest.raises(DeliveryError) as caught:
        canvas.get(result)
    assert caught.value.args == ("550 5.1.1 <bad@example.com> unknown", None, result.id)
    assert result.state == "FAILURE"


@pytest.mark.smoke
def test_a_group_is_all_its_reports(canvas: Canvas) -> None:
    result = group(canvas.mail("slow"), canvas.mail(), canvas.mail("late")).apply_async()
    reports = canvas.get(result)
    assert [report["message_id"] for report in reports] == [each.id for each in result.results]
    assert {report["kind"] for report in reports} == {"sent"}


def test_a_failing_group_raises_what_its_mail_did(canvas: Canvas) -> None:
    result = group(canvas.mail(), canvas.mail("bad")).apply_async()
    with pytest.raises(DeliveryError, match="550"):
        canvas.get(result)


def test_whoever_waits_for_a_failing_chain_gets_its_error(canvas: Canvas) -> None:
    result = chain(canvas.mail("bad"), canvas.never()).apply_async()
    with pytest.raises(DeliveryError, match="550"):
        canvas.get(result)


def test_the_children_of_a_mail_are_those_that_went_on(canvas: Canvas) -> None:
    link, then = canvas.once(), canvas.once()
    mail = canvas.mail("slow")
    mail.link(link)
    last = chain(mail, then).apply_async()
    # The last one can be there before: a task's children are stored after they have been published.
    canvas.get(last)
    assert canvas.get(last.parent)["kind"] == "sent"
    assert len(last.parent.children) == 2
    assert last.id in {child.id for child in last.parent.children}


def test_a_revoked_mail_raises_so(canvas: Canvas) -> None:
    result = canvas.mail("silent").delay()
    canvas.wait_state(result, SuspensionState.WAITING)
    assert canvas.app.control.revoke(result.id, reply=True, limit=1, timeout=PATIENCE_SECONDS)
    canvas.report(result)
    with pytest.raises(TaskRevokedError):
        canvas.get(result)
