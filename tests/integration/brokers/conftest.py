"""Celery consumes from quorum queues from 5.5 on."""

from __future__ import annotations

import celery

collect_ignore = [] if celery.VERSION >= (5, 5) else ["test_quorum_queues.py"]
