"""What a worker has in hand, as it says itself: a remote control command of the tests' workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.worker import control
from celery.worker.state import total_count

__all__ = ["HeldTasks", "held_tasks"]

#: How long an answer is waited for. A command that a worker does not hear is lost: ask again.
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class HeldTasks:
    """How many tasks a worker has, running, about to run and waiting for their time; how many it has begun at all."""

    held: int
    begun: int


@control.inspect_command(name="tests_held_tasks")
def _answer(state: Any, **kwargs: Any) -> dict[str, int]:
    # All at one moment of the worker's event loop. What it takes from the broker is with these in the same step.
    held = sum(len(look(state)) for look in (control.active, control.reserved, control.scheduled))
    return {"held": held, "begun": sum(total_count.values())}


def held_tasks(app: Celery, node: str) -> HeldTasks | None:
    """Ask the worker of that node name; None where it did not answer. It has to have this module imported."""
    # Others on the same broker hear the command, too, and it is none of theirs.
    options: dict[str, Any] = {"destination": [node], "reply": True, "limit": 1, "timeout": _ANSWER_SECONDS}
    for answer in app.control.broadcast("tests_held_tasks", **options) or ():
        return HeldTasks(**answer[node])
    return None
