"""`Maintenance`: rounds of duties, made by whoever holds the lease."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from uuid import uuid4

from celery import Celery

from ..deliveries.report import utcnow
from ..errors import redact
from ..runtime import Runtime, get_runtime
from .board import BOARD, NOMINAL_SECONDS, Board, Done, lease_seconds, read_board, write_board
from .duties import DUTIES, Duty
from .forks import without_forks

__all__ = ["Maintenance"]

logger = logging.getLogger(__name__)

#: The same problem is logged no more often: a store that is away would fill the log.
_SECONDS_BETWEEN_LINES = 60.0


class Maintenance:
    """The maintenance of one app, as one process takes part in it under this `name`.

    `lease` is the name of what the leader holds. `round_seconds` is how long a round takes, by default as the settings
    say. `is_stopping` says that the process is about to end: no further duty is begun then.
    """

    def __init__(
        self,
        app: Celery,
        *,
        name: str,
        duties: Sequence[Duty] = DUTIES,
        lease: str = BOARD,
        round_seconds: float | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self._app = app
        self._name = name
        self._holder = f"{name}/{uuid4().hex[:8]}"
        self._duties = duties
        self._lease = lease
        self._round_seconds = round_seconds
        self._is_stopping = is_stopping
        self._clock = clock
        self._leads = False
        self._renewed_at = 0.0
        self._logged: dict[str, tuple[str, float]] = {}

    def round(self) -> dict[str, int] | None:
        """Do the duties whose time has come: how much each had to do; None where another one leads. Never raises."""
        try:
            runtime = get_runtime(self._app)
            with without_forks():
                leads = self._lead(runtime)
            return self._do_all(runtime) if leads else None
        except Exception as exc:
            # The store is away, or the settings are wrong: the next round may find them fixed.
            self._log_problem("the round", exc)
            return None

    def resign(self) -> None:
        """Give the lease back, so that another one leads at once. Never raises."""
        if not self._leads:
            return
        self._leads = False
        try:
            with without_forks():
                get_runtime(self._app).store.take_lease(self._lease, self._holder, seconds=0)
        except Exception as exc:
            self._log_problem("giving back the lease", exc)

    def _do_all(self, runtime: Runtime) -> dict[str, int]:
        numbers: dict[str, int] = {}
        with without_forks():
            last = read_board(runtime.store, self._lease)
        board = Board(at=self._clock(), by=self._name, duties=last.duties if last else {})
        for duty in self._duties:
            if not self._is_due(runtime, duty, board):
                continue
            with without_forks():
                goes_on = self._go_on(runtime)
            if not goes_on:
                break
            done = self._do(runtime, duty)
            board = board.noted(duty.name, done)
            numbers[duty.name] = done.number
        with without_forks():
            write_board(runtime.store, board, self._lease)
        return numbers

    def _do(self, runtime: Runtime, duty: Duty) -> Done:
        try:
            with ExitStack() as busy:

                def go_on() -> bool:
                    # Who waits to fork gets a turn.
                    busy.close()
                    busy.enter_context(without_forks())
                    return self._go_on(runtime)

                busy.enter_context(without_forks())
                number = duty.do(runtime, go_on)
            return Done(at=self._clock(), number=number)
        except Exception as exc:
            self._log_problem(f"duty {duty.name!r}", exc)
            # By its type alone: the text may be long, and is in the log.
            return Done(at=self._clock(), problem=type(exc).__name__)

    def _is_due(self, runtime: Runtime, duty: Duty, board: Board) -> bool:
        last = board.duties.get(duty.name)
        seconds = self._seconds(runtime) or NOMINAL_SECONDS
        # Half a round early is better than nearly a round late.
        pause = max(duty.every_seconds, seconds) - seconds / 2
        return last is None or self._clock() - last.at >= timedelta(seconds=pause)

    def _go_on(self, runtime: Runtime) -> bool:
        """Whether this process still leads, and has time."""
        if self._is_stopping():
            return False
        third = lease_seconds(self._seconds(runtime)) / 3
        return time.monotonic() - self._renewed_at < third or self._lead(runtime)

    def _lead(self, runtime: Runtime) -> bool:
        led, now = self._leads, time.monotonic()
        seconds = lease_seconds(self._seconds(runtime))
        self._leads = runtime.store.take_lease(self._lease, self._holder, seconds=seconds)
        if self._leads:
            self._renewed_at = now
            if not led:
                logger.info("mailproxy %s: %s leads", self._lease, self._name)
        return self._leads

    def _seconds(self, runtime: Runtime) -> float:
        return runtime.settings.maintenance_seconds if self._round_seconds is None else self._round_seconds

    def _log_problem(self, what: str, exc: Exception) -> None:
        problem = redact(f"{type(exc).__name__}: {exc}")
        logged, at = self._logged.get(what, ("", 0.0))
        if problem != logged or time.monotonic() - at > _SECONDS_BETWEEN_LINES:
            self._logged[what] = (problem, time.monotonic())
            logger.error("mailproxy maintenance: %s failed: %s", what, problem)
