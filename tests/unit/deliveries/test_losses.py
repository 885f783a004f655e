"""What reports say of mails that the proxy has nested, or lost."""

from __future__ import annotations

from typing import Any

import pytest

from celery_mailproxy.deliveries.losses import as_deferral, has_been_lost, is_loss, is_lost, may_be_nested, refusals
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry

from .values import delivery, record, report

LATER = "[SMTPRecipientRefused(451, 'later', 'x@example.com')]"


def parsed(**entry: Any) -> DeliveryReport:
    (found,) = parse_entry({"id": "m", **entry})
    return found


LOSS = parsed(error_ts=1795878331, error="missing 'from'")


def test_only_the_proxys_word_that_the_sender_is_missing_is_a_loss() -> None:
    assert is_loss(LOSS)
    assert not is_loss(parsed(error_ts=1, error="missing 'to'"))
    assert not is_loss(parsed(deferred_ts=1, deferred_reason="missing 'from'"))
    assert not is_loss(report(Kind.ERROR, reason="missing 'from'", via="legacy"))


def test_a_loss_as_a_deferral_keeps_its_time_and_the_proxys_words() -> None:
    found = as_deferral(LOSS)
    assert (found.kind, found.at, found.raw) == (Kind.DEFERRED, LOSS.at, LOSS.raw)
    assert not is_loss(found)
    assert DeliveryReport.from_json(found.to_json()) == found
    assert found.retry_at is None


def test_a_deferral_of_the_same_second_is_another_report() -> None:
    deferral = parsed(deferred_ts=1795878331, deferred_reason=LATER)
    assert as_deferral(LOSS).key != deferral.key


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"deferred_ts": 1795878331, "deferred_reason": LATER}, True),
        # No SMTP server was asked, and the row is in order.
        ({"deferred_ts": 1795878331, "deferred_reason": "rate_limit"}, False),
        # 0.6 and v1.
        ({"deferred_ts": 1795878331, "deferred_reason": None}, False),
        ({"sent_ts": 1795878331}, False),
    ],
)
def test_a_mail_may_be_nested_once_a_server_has_deferred_it(entry: dict[str, Any], expected: bool) -> None:
    assert may_be_nested(parsed(**entry)) is expected


def test_a_lost_mail_has_to_be_looked_at() -> None:
    assert may_be_nested(as_deferral(LOSS))


def test_only_what_servers_refused_counts() -> None:
    first, second = report(Kind.DEFERRED, 1, reason=LATER), report(Kind.DEFERRED, 90, reason=LATER)
    limited = report(Kind.DEFERRED, 5, reason="rate_limit")
    one = record(delivery(), report(Kind.QUEUED), second, limited, first, as_deferral(LOSS))
    assert refusals(one) == [first, second]


def test_a_mail_is_lost_until_something_else_is_heard_of_it() -> None:
    loss = as_deferral(report(Kind.ERROR, 61, reason="missing 'from'"))
    lost = record(delivery(), report(Kind.DEFERRED, 1, reason=LATER), loss)
    assert (has_been_lost(lost), is_lost(lost)) == (True, True)
    later = record(lost, report(Kind.DEFERRED, 90, reason=LATER))
    assert (has_been_lost(later), is_lost(later)) == (True, False)
    assert not is_lost(record(lost, report(Kind.SENT, 90)))
    assert (has_been_lost(delivery()), is_lost(delivery())) == (False, False)
