"""What a `FakeProxy` is told to make of a mail."""

from __future__ import annotations

from celery_mailproxy.testing.outcomes import Step, error, sent


def test_step_is_a_value() -> None:
    assert sent() == Step(kind="sent")
    assert error("x") != error("y")
