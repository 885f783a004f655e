"""A row of 0.7.0 as it is after an SMTP server has deferred its mail, recorded on the running proxy."""

from __future__ import annotations

from typing import Any

from celery_mailproxy.proxy.nested_mail import is_ended, is_nested, spare_id, unnested

MAIL: dict[str, Any] = {
    "from": "f@example.com",
    "to": ["x@example.com"],
    "subject": "S",
    "body": "B",
    "content_type": "plain",
    "headers": {"X-A": "1"},
    "attachments": [{"filename": "a.txt", "storage_path": "[http://shop/a]id=7", "auth": {"token": "t"}}],
}
ROW: dict[str, Any] = {
    "pk": "Z0H5egiSrREJk6efOMU51c",
    "id": "m1",
    "tenant_id": "t1",
    "account_id": "a1",
    "priority": 1,
    "batch_code": "bc",
    "deferred_ts": 1795878386,
    "smtp_ts": None,
    "is_pec": False,
    "message": MAIL,
    "status": "deferred",
}
NESTED = {
    **ROW,
    "message": {"pk": ROW["pk"], "id": "m1", "tenant_id": "t1", "priority": 1, "message": MAIL, "retry_count": 1},
}


def test_a_row_is_nested_where_a_row_stands_in_place_of_the_mail() -> None:
    assert is_nested(NESTED)
    assert not is_nested(ROW)
    # A mail in order, whatever else a later release keeps beside it.
    assert not is_nested({**ROW, "message": {**MAIL, "message": {}, "retry_count": 1}})
    assert not is_nested({**ROW, "message": None})


def test_the_submission_holds_the_mail_and_its_place() -> None:
    expected = {
        **MAIL,
        "id": "m1",
        "tenant_id": "t1",
        "account_id": "a1",
        "priority": 1,
        "batch_code": "bc",
        "deferred_ts": 1795878700,
    }
    assert unnested(NESTED, message_id="m1", tenant_id="t1", deferred_ts=1795878700) == expected
    # The spare copy, which is not nested, comes back the same way.
    assert unnested(ROW, message_id="m1", tenant_id="t1", deferred_ts=1795878700) == expected


def test_what_a_mail_never_had_it_does_not_get() -> None:
    row = {**NESTED, "batch_code": None, "priority": 0}
    found = unnested(row, message_id="m1", tenant_id="t1", deferred_ts=None)
    assert "batch_code" not in found
    assert "deferred_ts" not in found
    assert found["priority"] == 0


def test_a_mail_nested_twice_comes_out_whole() -> None:
    twice = {**ROW, "message": {"id": "m1", "message": NESTED["message"], "retry_count": 1}}
    assert unnested(twice, message_id="m1", tenant_id="t1", deferred_ts=None)["subject"] == "S"


def test_a_nested_mail_with_a_time_of_sending_was_given_up() -> None:
    assert is_ended({**NESTED, "smtp_ts": 1795878331, "status": "sent"})
    assert not is_ended(NESTED)


def test_a_spare_copy_has_an_id_of_its_own() -> None:
    assert spare_id("m1") == "m1.healing"
