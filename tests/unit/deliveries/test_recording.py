"""What registrations and reports make of a delivery."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celery_mailproxy.deliveries.delivery import Status, failed_entries
from celery_mailproxy.deliveries.recording import (
    Dispatched,
    Verdict,
    adopt_orphan,
    is_anothers_orphan,
    mark_dispatched,
    merge_registration,
    record_report,
)
from celery_mailproxy.deliveries.report import Kind
from tests.unit.deliveries.values import NOW, delivery, record, report, verdict


def test_answer_that_a_report_overtook_is_news_without_effect() -> None:
    sent = record(delivery(), report(Kind.SENT, 5))
    assert verdict(sent, report(Kind.QUEUED)) is Verdict.NEW
    assert record(sent, report(Kind.QUEUED)).status is Status.SENT


def test_answer_repeated_is_a_duplicate_whatever_its_time() -> None:
    queued = mark_dispatched(record(delivery(), report(Kind.QUEUED)), Dispatched(message_id="m", key="queued"), now=NOW)
    assert verdict(queued, report(Kind.QUEUED, 999)) is Verdict.DUPLICATE


@pytest.mark.parametrize(
    ("claim", "seconds", "expected"),
    [
        ("task-1", 0, Verdict.NEW),
        ("task-1", 9999, Verdict.NEW),
        ("task-2", 60, Verdict.HELD),
        ("task-2", 61, Verdict.AGAIN),
    ],
)
def test_claim_that_comes_again(claim: str, seconds: int, expected: Verdict) -> None:
    taken = record(delivery(), report(Kind.SENT))
    assert verdict(taken, report(Kind.SENT), claim=claim, now=NOW + timedelta(seconds=seconds)) is expected


def test_dispatched_report_cannot_be_claimed() -> None:
    dispatched = Dispatched(message_id="m", key=report(Kind.SENT).key, failed=("shop.paid",))
    done = mark_dispatched(record(delivery(), report(Kind.SENT)), dispatched, now=NOW)
    assert verdict(done, report(Kind.SENT), claim="task-2", now=NOW + timedelta(days=1)) is Verdict.DUPLICATE
    assert [entry.failed for entry in failed_entries(done)] == [("shop.paid",)]
    assert list(failed_entries(mark_dispatched(done, Dispatched(message_id="m", key=dispatched.key), now=NOW))) == []


def test_mark_of_a_report_that_is_not_there_changes_nothing() -> None:
    assert mark_dispatched(delivery(), Dispatched(message_id="m", key="sent:1"), now=NOW) == delivery()


@pytest.mark.parametrize(
    ("ours", "theirs", "is_foreign"),
    [
        ("a", "b", True),
        ("a", "a", False),
        # A mail of which no tenant is kept is no tenant's.
        (None, "b", True),
        ("a", None, False),
        (None, None, False),
    ],
)
def test_a_tenants_report_counts_for_its_own_mails(ours: str | None, theirs: str | None, is_foreign: bool) -> None:
    before = delivery(tenant_id=ours)
    after, found = record_report(before, report(Kind.SENT, tenant_id=theirs), claim="c", now=NOW, claim_seconds=60)
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


@pytest.mark.parametrize("tenant_id", ["ours", None])
def test_registration_takes_over_nothing_from_another_tenant(tenant_id: str | None) -> None:
    theirs = report(Kind.ERROR, tenant_id="theirs")
    orphan = record(adopt_orphan(theirs, now=NOW), theirs)
    ours = delivery(tenant_id=tenant_id)
    assert merge_registration(orphan, ours) == ours


@pytest.mark.parametrize("tenant_id", ["ours", None])
def test_registration_takes_over_what_a_token_for_all_tenants_had_said(tenant_id: str | None) -> None:
    orphan = record(adopt_orphan(report(Kind.SENT), now=NOW), report(Kind.SENT))
    assert merge_registration(orphan, delivery(tenant_id=tenant_id)).status is Status.SENT


def test_an_orphan_of_another_tenant_is_unknown_to_this_one() -> None:
    orphan = adopt_orphan(report(Kind.SENT, tenant_id="theirs"), now=NOW)
    assert is_anothers_orphan(orphan, report(Kind.SENT, tenant_id="ours"))
    assert not is_anothers_orphan(orphan, report(Kind.SENT, tenant_id="theirs"))
    assert not is_anothers_orphan(orphan, report(Kind.SENT))
    assert not is_anothers_orphan(delivery(tenant_id="theirs"), report(Kind.SENT, tenant_id="ours"))
    assert not is_anothers_orphan(adopt_orphan(report(Kind.SENT), now=NOW), report(Kind.SENT, tenant_id="ours"))


def test_answer_to_the_submission_is_news_where_an_event_was_adopted_before() -> None:
    event = report(Kind.PEC, pec_event="acceptance")
    merged = merge_registration(record(adopt_orphan(event, now=NOW), event), delivery())
    assert verdict(merged, report(Kind.QUEUED)) is Verdict.NEW
    assert record(merged, report(Kind.QUEUED)).status is Status.QUEUED
