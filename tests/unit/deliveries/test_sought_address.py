"""An address, found where it stands and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.deliveries.sought_address import SoughtAddress

ANN = SoughtAddress(address="ann@example.com")


@pytest.mark.parametrize(
    ("text", "erased"),
    [
        ("ann@example.com", "<address>"),
        ("ANN@Example.COM", "<address>"),
        ("Ann <ann@example.com>", "Ann <address>"),
        ('"Doe, Ann" <ann@example.com>, bob@example.com', '"Doe, Ann" <address>, bob@example.com'),
        ("550 ann@example.com: unknown", "550 <address>: unknown"),
        ("no such user ann@example.com.", "no such user <address>."),
        ("(ann@example.com)", "(<address>)"),
        ("SMTPRecipientRefused(451, '4.3.0', 'ann@example.com')", "SMTPRecipientRefused(451, '4.3.0', '<address>')"),
        ("mailto:ann@example.com?subject=x", "mailto:<address>?subject=x"),
        ("https://x/?to=ann%40example.com&y=1", "https://x/?to=<address>&y=1"),
        ("https://x/?to=%3Cann%40example.com%3E", "https://x/?to=%3C<address>%3E"),
        (r"two lines\nann@example.com\r\n", r"two lines\n<address>\r\n"),
        ("收件人ann@example.com不存在", "收件人<address>不存在"),
        ("ann@example.com - ann@example.com", "<address> - <address>"),
        ("'ann@example.com'", "'<address>'"),
    ],
)
def test_it_is_found_in_whatever_text(text: str, erased: str) -> None:
    assert ANN.is_in(text)
    assert ANN.erased_from(text) == erased


@pytest.mark.parametrize(
    "text",
    [
        "xann@example.com",
        "x.ann@example.com",
        "x+ann@example.com",
        "x-ann@example.com",
        "x_ann@example.com",
        "o'ann@example.com",
        "%ann@example.com",
        "éann@example.com",
        "<x.ann@example.com>",
        "ann@example.com.au",
        "ann@example.community",
        "ann@example.com-x.org",
        "ann@example.comé",
        "ann@example-com",
        "ann@mail.example.com",
        "ann+x@example.com",
        "ann at example.com",
        "",
    ],
)
def test_a_longer_or_another_address_is_not_it(text: str) -> None:
    assert not ANN.is_in(text)
    assert ANN.erased_from(text) == text


def test_it_is_found_in_values_at_any_depth() -> None:
    value = {"to": ["Ann <ann@example.com>"], "deep": {"ann@example.com": [1, None, ("x", "ANN@example.com")]}}
    assert ANN.is_in(value)
    erased = {"to": ["Ann <address>"], "deep": {"<address>": [1, None, ("x", "<address>")]}}
    assert ANN.erased_from(value) == erased
    assert not ANN.is_in(erased)


def test_a_domain_is_found_in_its_own_characters_too() -> None:
    sought = SoughtAddress(address="ann@xn--bcher-kva.example")
    assert sought.erased_from("ann@bücher.example, ANN@BÜCHER.example, ann@xn--bcher-kva.example") == (
        "<address>, <address>, <address>"
    )


@pytest.mark.parametrize("address", ["a+b*c@example.com", '"ann doe"@example.com', "ann@[192.0.2.1]", "o'x@x.org"])
def test_odd_addresses_are_taken_literally(address: str) -> None:
    sought = SoughtAddress(address=address)
    assert sought.erased_from(f"to {address}, and aab*c@example.com") == "to <address>, and aab*c@example.com"


def test_what_a_serializer_has_put_before_it_is_no_hindrance() -> None:
    assert ANN.may_be_in(b"\x8c\x0fann@example.com\x94")
    assert ANN.may_be_in(b"a\xffann@example.com")
    assert not ANN.may_be_in(b"bob@example.com")


def test_its_repr_does_not_show_it() -> None:
    assert "ann" not in repr(ANN)


@given(st.text(max_size=30), st.text(max_size=30))
def test_erasing_twice_changes_nothing_more(before: str, behind: str) -> None:
    erased = ANN.erased_from(f"{before}ann@example.com{behind} ann@example.com")
    assert ANN.erased_from(erased) == erased
    assert not ANN.is_in(erased)
    assert "<address>" in erased
