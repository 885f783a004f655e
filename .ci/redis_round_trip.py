"""Run a task through Redis, and read its result from there: `python redis_round_trip.py URL`, for `package.py`.

By the Celery, kombu and redis that are installed; celery-mailproxy is imported beside them. Exit code 0 if it worked.
"""

from __future__ import annotations

import sys

from celery import Celery
from celery.contrib.testing.worker import start_worker

import celery_mailproxy.tasks  # noqa: F401 - registers the tasks


def main(url: str) -> None:
    app = Celery("round_trip", broker=url, backend=url)

    @app.task(name="round_trip.double")
    def double(number: int) -> int:
        return 2 * number

    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=60):
        assert double.delay(21).get(timeout=60) == 42


if __name__ == "__main__":
    main(sys.argv[1])
