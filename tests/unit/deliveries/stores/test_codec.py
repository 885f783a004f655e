"""What is written can be read: `stores.codec`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given

from celery_mailproxy import Delivery
from celery_mailproxy.deliveries.report import Kind, parse_entry
from celery_mailproxy.deliveries.stores.codec import (
    decode_delivery,
    encode_delivery,
    pack_claim,
    pack_report,
    pack_text,
    pack_time,
    unpack_text,
    unpack_time,
)
from celery_mailproxy.errors import StoreError
from tests.contract.store_values import deliveries, delivery, report, texts, times

USUAL_ENTRIES = [
    {"id": "m", "sent_ts": 1795324468, "error_ts": None, "error": None},
    {"id": "m", "sent_ts": None, "error_ts": 1795324468, "error": "no account"},
    {"id": "m", "sent_ts": 1795324468},
    {"id": "m", "error_ts": 1795324468, "error": "Account 'nope' not found"},
    {"id": "m", "deferred_ts": 1795324468, "deferred_reason": "rate_limit"},
    {"id": "m", "bounce_ts": 1795324468, "bounce_type": "hard", "bounce_code": "550", "bounce_reason": "no such user"},
    {"id": "m", "pec_event": "pec_delivery", "pec_ts": 1795324468, "pec_details": "…"},
]


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


@pytest.mark.parametrize("entry", USUAL_ENTRIES, ids=lambda entry: "-".join(sorted(set(entry) - {"id"})))
def test_usual_raw_entry_is_not_written_out(entry: dict[str, Any]) -> None:
    (parsed,) = parse_entry(entry)
    assert "_ts" not in pack_report(parsed)


@given(texts)
@example('"')
def test_packed_text_comes_back(text: str) -> None:
    assert unpack_text(pack_text(text)) == text


@given(texts, texts)
def test_different_texts_are_packed_differently(one: str, other: str) -> None:
    assert (pack_text(one) == pack_text(other)) is (one == other)
    assert (pack_claim(one, "m") == pack_claim(other, "m")) is (one == other)


@given(times, times)
def test_packed_time_comes_back(one: Any, other: Any) -> None:
    assert unpack_time(pack_time(one)) == one
    assert int(pack_time(one), 36) - int(pack_time(other), 36) == (one - other) // timedelta(microseconds=1)


def test_task_id_that_is_the_message_id_is_not_written_again() -> None:
    message_id = "6d3f5f0e-4c1c-4f7e-9d0a-111111111111"
    assert message_id not in "".join(encode_delivery(delivery(message_id)))
    assert decode_delivery(message_id, *encode_delivery(delivery(message_id))).task_id == message_id


def test_mappings_of_any_kind_are_written() -> None:
    raw: Mapping[str, Any] = MappingProxyType({"id": "m", "odd": MappingProxyType({"a": 1})})
    assert '"odd"' in pack_report(report("m", Kind.SENT, raw=raw))


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
