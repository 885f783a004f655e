"""`ForkGate`: keeps `os.fork` and threads that hold locks apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ForkGate"]


class ForkGate:
    """A fork waits until no thread is busy, and no thread gets busy while a fork goes on.

    A prefork worker forks from its main process, also later, for children that have to be replaced. Only the forking
    thread lives on in the child: a lock that another one held at that moment would stay locked there for ever.
    """

    #: A fork is not held up for longer than this: the worker's main loop stands still meanwhile.
    limit_seconds = 1.0

    def __init__(self) -> None:
        self._reset()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While the block runs, a fork waits. Not to be nested."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_forking, timeout=self.limit_seconds)
            self._busy.add(threading.get_ident())
        try:
            yield
        finally:
            with self._condition:
                self._busy.discard(threading.get_ident())
                self._condition.notify_all()

    def before_fork(self) -> None:
        # A handler may fork itself (multiprocessing in inline dispatch): it must not wait for its own end.
        own = {threading.get_ident()}
        with self._condition:
            self._is_forking = True
            self._condition.wait_for(lambda: self._busy <= own, timeout=self.limit_seconds)

    def after_fork_in_parent(self) -> None:
        with self._condition:
            self._is_forking = False
            self._condition.notify_all()

    def after_fork_in_child(self) -> None:
        # The threads that were busy do not exist here, and may have held the condition's own lock.
        self._reset()

    def _reset(self) -> None:
        self._condition = threading.Condition()
        self._busy: set[int] = set()
        self._is_forking = False
