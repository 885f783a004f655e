"""`RefusalLog`: a line a minute, however many strangers knock."""

from __future__ import annotations

import pytest

from celery_mailproxy.receiver.refusals import RefusalLog


def test_strangers_get_one_line_a_minute_with_their_number(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = RefusalLog(monotonic=lambda: now)
    log.note("no token", "203.0.113.7")
    for _ in range(1000):
        log.note("a wrong token", "203.0.113.8")
    now = 59.9
    log.note("no token", None)
    now = 60.0
    log.note("a wrong token", "203.0.113.9\nforged")
    now = 120.0
    log.note("no token", None)
    assert caplog.messages == [
        "refused a request with no token from 203.0.113.7",
        r"refused a request with a wrong token from 203.0.113.9\nforged, and 1001 more since the last such line",
        "refused a request with no token from an unknown address",
    ]
