"""What becomes of a delivery when an address is erased: the rest is in the contract of stores."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from celery_mailproxy.deliveries.delivery import Delivery, HistoryEntry, Status
from celery_mailproxy.deliveries.erasing import Fate, erase
from celery_mailproxy.deliveries.report import DeliveryReport, Kind
from celery_mailproxy.deliveries.sought_address import SoughtAddress
from celery_mailproxy.deliveries.suppression import digests_of

AT = datetime(2026, 11, 22, tzinfo=timezone.utc)
ANN = SoughtAddress(address="ann@example.com")


def delivery(**fields: Any) -> Delivery:
    values: dict[str, Any] = {"status": Status.SENT, "created_at": AT, "updated_at": AT, **fields}
    return Delivery(**{"message_id": "m", **values})


def test_a_recipient_goes_with_the_name_and_the_only_one_with_the_subject() -> None:
    summary = {"to": ["Ann Doe <ann@example.com>"], "from": "Ann <ann@example.com>", "subject": "Dear Ann Doe"}
    fate, erased = erase(delivery(summary={**summary, "recipients": 1}), ANN)
    assert fate is Fate.ERASED
    assert erased.summary == {"to": ["<address>"], "from": "<address>", "recipients": 1}


def test_with_others_among_the_recipients_the_subject_stays() -> None:
    summary = {"to": ["Ann <ann@example.com>", "Bob <bob@example.com>"], "from": "shop@example.com", "subject": "News"}
    _, erased = erase(delivery(summary=summary), ANN)
    assert erased.summary == {**summary, "to": ["<address>", "Bob <bob@example.com>"]}


def test_whom_a_bounce_is_about_goes_and_the_bounce_is_still_the_same_one() -> None:
    report = DeliveryReport(
        kind=Kind.BOUNCED,
        message_id="m",
        at=AT,
        recipient="ann@example.com",
        event_id="7f",
        reason="<Ann@example.com>?",
    )
    entry = HistoryEntry(report=report, claim="", is_dispatched=True)
    fate, erased = erase(delivery(status=Status.BOUNCED, history=(entry,)), ANN)
    assert fate is Fate.ERASED
    (kept,) = erased.history
    assert (kept.report.recipient, kept.report.reason) == ("<address>", "<address>?")
    assert kept.report.key == report.key


@pytest.mark.parametrize("name", ["message_id", "task_id", "batch_code"])
def test_what_has_it_in_an_id_is_deleted(name: str) -> None:
    assert erase(delivery(**{name: "to:ann@example.com"}), ANN)[0] is Fate.DELETED
    assert erase(delivery(**{name: "to:ann@example.com", "status": Status.QUEUED}), ANN)[0] is Fate.OPEN
    assert erase(delivery(**{name: "to:joann@example.com"}), ANN)[0] is Fate.UNTOUCHED


def test_a_member_is_not_deleted_while_its_mail_may_ask_for_it() -> None:
    member = delivery(message_id="to:ann@example.com-0", parent_id="to:ann@example.com")
    assert erase(member, ANN)[0] is Fate.OPEN


@pytest.mark.parametrize("name", ["account_id", "tenant_id", "server"])
def test_names_of_the_configuration_are_no_persons(name: str) -> None:
    assert erase(delivery(**{name: "ann@example.com"}), ANN)[0] is Fate.UNTOUCHED


def test_metadata_and_tags_lose_it_like_reasons() -> None:
    fate, erased = erase(
        delivery(metadata={"who": "ann@example.com", "order": 7}, tags=("to ann@example.com", "x")), ANN
    )
    assert fate is Fate.ERASED
    assert (erased.metadata, erased.tags) == ({"who": "<address>", "order": 7}, ("to <address>", "x"))


def test_the_digest_of_a_recipient_goes() -> None:
    summary = {"recipients": 2, **digests_of("m", ["ann@example.com", "bob@example.com"])}
    fate, erased = erase(delivery(summary=summary), SoughtAddress(address="ANN@example.com"))
    assert fate is Fate.ERASED
    assert erased.summary == {"recipients": 2, **digests_of("m", ["bob@example.com"])}
    assert erase(erased, ANN)[0] is Fate.UNTOUCHED
    # Another delivery's digest of the same address is another one.
    assert digests_of("m", ["ann@example.com"]) != digests_of("n", ["ann@example.com"])
    assert erase(delivery(status=Status.QUEUED, summary=summary), ANN)[0] is Fate.OPEN
