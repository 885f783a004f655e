"""An envelope sender for each mail, and the way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.mail.verp import message_id_in, verp_address

TEMPLATE = "bounces+{id}@shop.example"


def test_usual_id_stands_in_the_address_as_it_is() -> None:
    assert verp_address(TEMPLATE, "6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d-12") == (
        "bounces+6f1c0c1e-7a3e-4c58-b0d5-2f7a9a4f5f3d-12@shop.example"
    )


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_id_comes_back_whatever_a_server_does_to_the_case(message_id: str) -> None:
    address = verp_address(TEMPLATE, message_id)
    if address is None:
        assert len(message_id.encode()) * 3 > 64 - len("bounces+")
        return
    assert address.isascii()
    assert len(address.rpartition("@")[0]) <= 64
    for written in (address, address.upper(), f" {address} "):
        assert message_id_in(TEMPLATE, written) == message_id


def test_id_that_an_address_has_no_room_for_gets_none() -> None:
    assert verp_address(TEMPLATE, "x" * 56) is not None
    assert verp_address(TEMPLATE, "x" * 57) is None


@pytest.mark.parametrize(
    "address",
    [
        "bounces@shop.example",
        "bounces+@shop.example",
        "bounces+7@other.example",
        "bounces+a b@shop.example",
        "bounces+=ff@shop.example",
        "bounces+=zz@shop.example",
        "orders@shop.example",
    ],
)
def test_other_address_holds_no_id(address: str) -> None:
    assert message_id_in(TEMPLATE, address) is None
