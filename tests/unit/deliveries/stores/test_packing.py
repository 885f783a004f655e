"""Packed texts, claims and times come back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import example, given

from celery_mailproxy.deliveries.stores.packing import pack_claim, pack_text, pack_time, unpack_text, unpack_time
from tests.contract.store_values import texts, times


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
