"""Control characters in the texts of headers, and those that an encoding hides."""

from __future__ import annotations

import pytest

from celery_mailproxy.mail.controls import breaks_lines, hides_line_break
from tests.harness.injections import HIDDEN, HIDDEN_PARAMETERS, quoted


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_a_hidden_line_break_is_found(text: str) -> None:
    assert hides_line_break(text)
    assert breaks_lines("X-Note", text)


@pytest.mark.parametrize("text", HIDDEN_PARAMETERS.values(), ids=HIDDEN_PARAMETERS)
@pytest.mark.parametrize("name", ["Content-Disposition", "content-type"])
def test_a_line_break_hidden_in_a_parameter_is_found(name: str, text: str) -> None:
    assert breaks_lines(name, f"x/y; {text}" if name == "content-type" else f"inline; {text}")


@pytest.mark.parametrize(
    "text",
    ["", "a\tb", quoted("a\tb"), quoted("Größe"), "=?", "?=", "=?=?=?=", "=?utf-8?x?=0d=0a?=", "100%0d", "a=0d=0ab"],
)
def test_nothing_is_found_where_nothing_is_hidden(text: str) -> None:
    assert not hides_line_break(text)
    assert not breaks_lines("Content-Disposition", f'inline; filename="{text}"')


def test_the_escapes_of_a_japanese_header_break_no_line() -> None:
    header = "\x1b$B%F%9%H\x1b(B"
    assert hides_line_break(header)
    assert not breaks_lines("Subject", header)


def test_what_is_encoded_very_often_is_looked_at_in_the_end() -> None:
    text = "a\r\nb"
    for _ in range(8):
        text = quoted(text)
    assert hides_line_break(text)


@pytest.mark.parametrize("text", ["=?a?q?x" * 100_000, "=?" * 300_000, f"{'=?a?q?x' * 50_000}?="])
def test_a_long_text_with_many_beginnings_is_searched_once(text: str) -> None:
    # Searched anew from each of them, to the end, it would take hours.
    assert not hides_line_break(text)


def test_of_words_that_begin_before_another_has_ended_the_inner_one_is_found() -> None:
    assert hides_line_break("=?a?q?x=?utf-8?q?a=0d=0ab?=")
