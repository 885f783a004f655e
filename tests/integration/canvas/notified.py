"""What holds where whoever waits for a result is told of its states, by Redis or by messages."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .canvas import Canvas


@pytest.mark.smoke
def test_the_states_of_a_mail_as_they_come(canvas: Canvas) -> None:
    result = canvas.mail("silent").delay()
    seen: list[tuple[str, Any]] = []

    def go_on(meta: dict[str, Any]) -> None:
        """Let happen what comes next once a state has been seen."""
        is_seen = meta["status"] in [state for state, _ in seen]
        # Results that were asked for before are told of as well.
        if is_seen or meta["task_id"] != result.id:
            return
        seen.append((meta["status"], meta["result"]))
        if meta["status"] == "QUEUED":
            canvas.end(result, deferred_ts=int(time.time()), deferred_reason="451 later")
        elif meta["status"] == "DEFERRED":
            canvas.end(result)

    assert canvas.get(result, on_message=go_on)["kind"] == "sent"
    assert [state for state, _ in seen] == ["QUEUED", "DEFERRED", "SUCCESS"]
    assert [value["message_id"] for _, value in seen] == [result.id] * 3
    assert (seen[1][1]["reason"], seen[1][1]["attempts"]) == ("451 later", 1)
