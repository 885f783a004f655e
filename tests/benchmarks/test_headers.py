"""What a mail's headers cost the caller grows as they do, and is little beside what Python itself takes for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from typing import Any

import pytest

from celery_mailproxy.mail.headers import foldable_addresses, foldable_text

pytestmark = pytest.mark.benchmark

#: For twice the length; what is quadratic takes four times as long.
LIMIT = 3

NAME = "Jané Müller " + "x y" * 18


def seconds(call: Callable[[], Any]) -> float:
    """Of several turns the best, for other programs run, too. By the time of this process alone."""
    turns = []
    for _ in range(5):
        begun = time.process_time()
        call()
        turns.append(time.process_time() - begun)
    return min(turns)


def people(count: int) -> list[str]:
    return [f"{NAME}é{number} <u{number}@example.com>" for number in range(count)]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda size: foldable_addresses("To", ["😀" * size + " <b@example.com>"]), id="emoji in a name"),
        pytest.param(lambda size: foldable_text("Subject", "ü" * size), id="one long word"),
        pytest.param(lambda size: foldable_text("Subject", "Größe " * size + "."), id="many words"),
    ],
)
def test_twice_the_text_costs_less_than_three_times_as_much(call: Callable[[int], Any]) -> None:
    assert seconds(lambda: call(400)) / seconds(lambda: call(200)) < LIMIT


def test_twice_the_recipients_cost_less_than_three_times_as_much() -> None:
    few, many = people(20), people(40)
    assert seconds(lambda: foldable_addresses("To", many)) / seconds(lambda: foldable_addresses("To", few)) < LIMIT


def test_a_name_of_emoji_costs_no_more_than_some_foldings_of_python() -> None:
    value = "😀" * 100 + " <b@example.com>"

    def fold() -> None:
        message = EmailMessage(policy=policy.SMTP)
        message["To"] = value
        message.as_bytes()

    assert seconds(lambda: foldable_addresses("To", [value])) / seconds(fold) < 10
