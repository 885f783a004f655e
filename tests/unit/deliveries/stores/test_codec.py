"""What is written can be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from celery_mailproxy import Delivery
from celery_mailproxy.deliveries.stores.codec import decode_delivery, encode_delivery
from celery_mailproxy.errors import StoreError
from tests.contract.store_values import deliveries, delivery


@given(deliveries())
def test_no_value_is_lost(original: Delivery) -> None:
    head, static = encode_delivery(original)
    again = decode_delivery(original.message_id, head, static)
    assert again == original
    # `==` takes 1 for True and 1.0 for 1.
    assert _json(again) == _json(original)


@given(deliveries())
def test_texts_are_one_line_of_utf8_and_hold_no_empty_array_in_the_head(original: Delivery) -> None:
    head, static = encode_delivery(original)
    assert "\n" not in head + static
    (head + static).encode()
    assert [] not in json.loads(head)
    assert [] not in [member for entry in json.loads(head)[4:] for member in entry]


def test_task_id_that_is_the_message_id_is_not_written_again() -> None:
    message_id = "6d3f5f0e-4c1c-4f7e-9d0a-111111111111"
    assert message_id not in "".join(encode_delivery(delivery(message_id)))
    assert decode_delivery(message_id, *encode_delivery(delivery(message_id))).task_id == message_id


def test_what_json_cannot_express_is_refused_with_the_remedy() -> None:
    with pytest.raises(StoreError, match=r"must be JSON-able: set is not.*keep to texts, numbers"):
        encode_delivery(delivery("m", callbacks={"sent": [{"args": {1, 2}}]}))


@pytest.mark.parametrize(
    ("head", "static"),
    [("", "{}"), ("[]", "{}"), ('["sent","a",1,null]', "{}"), ('["odd","a",1,null]', '{"c":"a"}'), ("{}", "[]")],
)
def test_damaged_record_is_a_store_error_that_names_the_message(head: str, static: str) -> None:
    with pytest.raises(StoreError, match="record of message 'm-1' is damaged"):
        decode_delivery("m-1", head, static)


def _json(value: Delivery) -> str:
    parts: list[Any] = [value.callbacks, value.summary, *(entry.report.to_json() for entry in value.history)]
    return json.dumps(parts, sort_keys=True)
