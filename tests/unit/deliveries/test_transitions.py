"""How a report moves the status on."""

from __future__ import annotations

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import (
    Verdict,
)
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.transitions import TRANSITIONS
from tests.unit.deliveries.values import delivery, record, report, verdict


def test_table_has_a_row_for_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_an_end_is_never_undone_but_by_a_bounce() -> None:
    for status in Status:
        if status.is_end:
            assert set(TRANSITIONS[status].values()) <= {status, Status.BOUNCED}


def test_bounce_after_sent_and_the_other_way_round() -> None:
    for order in ([Kind.SENT, Kind.BOUNCED], [Kind.BOUNCED, Kind.SENT]):
        bounced = record(delivery(), *(report(kind, second) for second, kind in enumerate(order)))
        assert bounced.status is Status.BOUNCED
        assert not any(entry.is_stale for entry in bounced.history)


def test_sent_is_news_once() -> None:
    assert verdict(record(delivery(), report(Kind.SENT, 1)), report(Kind.SENT, 2)) is Verdict.STALE


def test_pec_event_changes_nothing_but_the_history() -> None:
    for status in set(Status) - {Status.REJECTED}:
        after = record(delivery(status=status), report(Kind.PEC, pec_event="pec_delivery"))
        assert after.status is status
        assert len(after.history) == 1


def test_complaint_is_news_in_every_status_and_changes_nothing_but_the_history() -> None:
    for status in set(Status) - {Status.REJECTED}:
        after = record(delivery(status=status), report(Kind.COMPLAINED, recipient="a@example.com"))
        assert after.status is status
        assert [entry.is_stale for entry in after.history] == [False]


def test_bounces_of_several_recipients_are_news_each_and_once() -> None:
    reports = [report(Kind.BOUNCED, code="5.1.1", recipient=f"{each}@x.de", event_id=each) for each in ("a", "b")]
    after = record(delivery(status=Status.SENT), *reports, *reports)
    assert [entry.report.recipient for entry in after.history] == ["a@x.de", "b@x.de"]


def test_late_deferred_is_stale_and_says_nothing_of_the_state() -> None:
    ended = record(delivery(), report(Kind.SENT, 5), report(Kind.DEFERRED, 1, reason="late"))
    assert ended.status is Status.SENT
    assert ended.reason is None
    assert ended.attempts == 1
    assert [entry.is_stale for entry in ended.history] == [False, True]
