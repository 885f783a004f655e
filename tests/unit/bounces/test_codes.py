"""Hard is what says that the address is no good; what leaves it open is neither hard nor soft."""

from __future__ import annotations

import pytest

from celery_mailproxy.bounces.codes import bounce_type_of, enhanced_code, reply_code


@pytest.mark.parametrize("status", ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4", "5.4.310"])
def test_statuses_about_the_address_are_hard(status: str) -> None:
    assert bounce_type_of(status, "550", "") == "hard"


@pytest.mark.parametrize(
    "status",
    ["4.2.2", "4.7.1", "5.1.7", "5.1.8", "5.2.2", "5.2.3", "5.3.4", "5.4.6", "5.4.7", "5.6.0", "5.7.1", "5.7.26"],
)
def test_statuses_about_mailbox_way_content_and_policy_are_soft(status: str) -> None:
    assert bounce_type_of(status, "550", "") == "soft"


@pytest.mark.parametrize("status", ["5.0.0", "5.1.0", "5.2.0", "5.3.0", "5.4.1", "5.5.0", None])
def test_vague_status_is_settled_by_what_is_written_or_left_open(status: str | None) -> None:
    assert bounce_type_of(status, "550", "User unknown") == "hard"
    assert bounce_type_of(status, "550", "Mailbox full") == "soft"
    assert bounce_type_of(status, "550", "Sender address rejected: Domain not found") == "soft"
    assert bounce_type_of(status, "550", "blocked by our spam policy") == "soft"
    assert bounce_type_of(status, "550", "No.") is None


def test_reply_code_counts_where_nothing_else_is_said() -> None:
    answers = {
        code: bounce_type_of(None, code, "") for code in ("421", "452", "521", "550", "551", "552", "553", "554")
    }
    assert answers == {
        "421": "soft",
        "452": "soft",
        "521": "hard",
        "550": None,
        "551": "hard",
        "552": "soft",
        "553": "hard",
        "554": None,
    }
    assert bounce_type_of(None, None, "") is None


def test_policy_that_names_an_unknown_user_is_hard() -> None:
    assert bounce_type_of("5.7.1", "550", "Recipient unknown") == "hard"


def test_codes_are_told_from_other_numbers() -> None:
    assert enhanced_code("host mx[198.51.100.7] said: 550 5.1.1 no") == "5.1.1"
    assert enhanced_code("5.0.0, and then 5.2.2") == "5.2.2"
    assert enhanced_code("smtp; 554 5.0.0 no") == "5.0.0"
    assert enhanced_code("250 2.1.5 Ok, 10.5.1.1") is None
    assert reply_code("550-5.1.1 no") == "550"
    assert reply_code("order 1550 of 2026-450, 198.51.100.450") is None


def test_full_mailbox_is_soft_whatever_code_stands_beside_it() -> None:
    assert bounce_type_of("5.1.1", "552", "Boite du destinataire pleine. Recipient overquota.") == "soft"
    assert bounce_type_of("5.2.1", "550", "Mailbox full") == "soft"
    # Who names both says of the address that it is no good.
    assert bounce_type_of("5.1.1", "550", "User unknown, or mailbox full") == "hard"
