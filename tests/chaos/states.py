"""Reads the deliveries of one side's store at the end, and notes the status of each in the ledger.

    python -m tests.chaos.states IDS

`IDS` is a file with one message id a line. It is a process of its own, since one application cannot be another.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from celery_mailproxy.runtime import get_runtime

from .app import app, ledger

__all__ = ["main"]

_AT_ONCE = 200


def main(path: str) -> None:
    if "DJANGO_SETTINGS_MODULE" in os.environ:
        import django

        django.setup()
    ids = Path(path).read_text().split()
    store = get_runtime(app).store
    statuses: dict[str, str | None] = {}
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        for message_id, delivery in zip(some, store.get_many(some), strict=True):
            statuses[message_id] = delivery.status.value if delivery else None
    ledger.note("statuses", statuses=statuses)


if __name__ == "__main__":
    main(sys.argv[1])
