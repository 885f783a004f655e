"""`without_forks`: the maintenance's thread and a prefork worker's forks, kept apart as the listener's are."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache

from ..receiver.fork_gate import ForkGate

__all__ = ["without_forks"]


def without_forks() -> AbstractContextManager[None]:
    """A block during which a fork of this process waits, for a second at most. Not to be nested."""
    return _gate().busy()


@cache
def _gate() -> ForkGate:
    gate = ForkGate()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=gate.before_fork,
            after_in_parent=gate.after_fork_in_parent,
            after_in_child=gate.after_fork_in_child,
        )
    return gate
