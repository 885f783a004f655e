"""The state machine of a delivery: pure functions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import (
    TRANSITIONS,
    Delivery,
    Dispatched,
    Status,
    Verdict,
    adopt_orphan,
    failed_entries,
    mark_dispatched,
    merge_registration,
    record_report,
)
from celery_mailproxy.deliveries.report import DeliveryReport, Kind

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=timezone.utc)


def delivery(**fields: Any) -> Delivery:
    return Delivery(message_id="m", created_at=NOW, updated_at=NOW, **fields)


def report(kind: Kind, second: int = 0, **fields: Any) -> DeliveryReport:
    return DeliveryReport(kind=kind, message_id="m", at=NOW + timedelta(seconds=second), **fields)


def record(before: Delivery, *reports: DeliveryReport, claim: str = "task-1", now: datetime = NOW) -> Delivery:
    for each in reports:
        before, _ = record_report(before, each, claim=claim, now=now, lease_seconds=60)
    return before


def verdict(before: Delivery, reported: DeliveryReport, *, claim: str = "task-1", now: datetime = NOW) -> Verdict:
    return record_report(before, reported, claim=claim, now=now, lease_seconds=60)[1]


def test_table_has_a_row_for_every_status() -> None:
    assert set(TRANSITIONS) == set(Status)


def test_an_end_is_never_undone_but_by_a_bounce() -> None:
    for status in Status:
        if status.is_end:
            assert set(TRANSITIONS[status].values()) <= {status, Status.BOUNCED}


def test_usual_course_of_a_mail() -> None:
    ended = record(
        delivery(),
        report(Kind.QUEUED, 0),
        report(Kind.DEFERRED, 1, reason="greylisted"),
        report(Kind.DEFERRED, 61, reason="busy"),
        report(Kind.SENT, 361),
    )
    assert ended.status is Status.SENT
    assert ended.is_ended
    assert ended.queued_at == NOW
    assert ended.sent_at == ended.ended_at == NOW + timedelta(seconds=361)
    assert ended.attempts == 3
    assert ended.reason == "busy"


def test_pending_delivery_has_no_end() -> None:
    assert record(delivery(), report(Kind.QUEUED)).ended_at is None


def test_late_deferred_is_stale_and_says_nothing_of_the_state() -> None:
    ended = record(delivery(), report(Kind.SENT, 5), report(Kind.DEFERRED, 1, reason="late"))
    assert ended.status is Status.SENT
    assert ended.reason is None
    assert ended.attempts == 1
    assert [entry.is_stale for entry in ended.history] == [False, True]


def test_answer_that_a_report_overtook_is_news_without_effect() -> None:
    sent = record(delivery(), report(Kind.SENT, 5))
    assert verdict(sent, report(Kind.QUEUED)) is Verdict.NEW
    assert record(sent, report(Kind.QUEUED)).status is Status.SENT


def test_answer_repeated_is_a_duplicate_whatever_its_time() -> None:
    queued = mark_dispatched(record(delivery(), report(Kind.QUEUED)), Dispatched(message_id="m", key="queued"), now=NOW)
    assert verdict(queued, report(Kind.QUEUED, 999)) is Verdict.DUPLICATE


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


@pytest.mark.parametrize(
    ("claim", "seconds", "expected"),
    [
        ("task-1", 0, Verdict.NEW),
        ("task-1", 9999, Verdict.NEW),
        ("task-2", 60, Verdict.DUPLICATE),
        ("task-2", 61, Verdict.NEW),
    ],
)
def test_claim_that_comes_again(claim: str, seconds: int, expected: Verdict) -> None:
    taken = record(delivery(), report(Kind.SENT))
    assert verdict(taken, report(Kind.SENT), claim=claim, now=NOW + timedelta(seconds=seconds)) is expected


def test_dispatched_report_cannot_be_claimed() -> None:
    told = Dispatched(message_id="m", key=report(Kind.SENT).key, failed=("shop.paid",))
    done = mark_dispatched(record(delivery(), report(Kind.SENT)), told, now=NOW)
    assert verdict(done, report(Kind.SENT), claim="task-2", now=NOW + timedelta(days=1)) is Verdict.DUPLICATE
    assert [entry.failed for entry in failed_entries(done)] == [("shop.paid",)]
    assert list(failed_entries(mark_dispatched(done, Dispatched(message_id="m", key=told.key), now=NOW))) == []


def test_mark_of_a_report_that_is_not_there_changes_nothing() -> None:
    assert mark_dispatched(delivery(), Dispatched(message_id="m", key="sent:1"), now=NOW) == delivery()


@pytest.mark.parametrize(
    ("ours", "theirs", "is_foreign"),
    [
        ("a", "b", True),
        ("a", "a", False),
        (None, "b", False),
        ("a", None, False),
    ],
)
def test_only_two_different_tenants_are_foreign(ours: str | None, theirs: str | None, is_foreign: bool) -> None:
    before = delivery(tenant_id=ours)
    after, found = record_report(before, report(Kind.SENT, tenant_id=theirs), claim="c", now=NOW, lease_seconds=60)
    assert (found is Verdict.FOREIGN) is is_foreign
    assert (after is before) is is_foreign


def test_first_registration_wins() -> None:
    first, second = delivery(account_id="first"), delivery(account_id="second")
    assert merge_registration(None, first) is first
    assert merge_registration(first, second) is first


def test_registration_takes_over_what_reports_had_said() -> None:
    orphan = record(adopt_orphan(report(Kind.SENT), now=NOW), report(Kind.SENT))
    merged = merge_registration(orphan, delivery(account_id="main"))
    assert (merged.status, merged.account_id, merged.is_known) == (Status.SENT, "main", True)
    assert merged.history == orphan.history


def test_registration_takes_over_nothing_from_another_tenant() -> None:
    theirs = report(Kind.ERROR, tenant_id="theirs")
    orphan = record(adopt_orphan(theirs, now=NOW), theirs)
    ours = delivery(tenant_id="ours")
    assert merge_registration(orphan, ours) == ours


def test_answer_to_the_submission_is_news_where_an_event_was_adopted_before() -> None:
    event = report(Kind.PEC, pec_event="acceptance")
    merged = merge_registration(record(adopt_orphan(event, now=NOW), event), delivery())
    assert verdict(merged, report(Kind.QUEUED)) is Verdict.NEW
    assert record(merged, report(Kind.QUEUED)).status is Status.QUEUED


def test_repr_shows_neither_callbacks_nor_summary() -> None:
    shown = repr(delivery(callbacks={"sent": [{"args": ["secret"]}]}, summary={"subject": "secret"}))
    assert "secret" not in shown
