"""A worker's log without the line at INFO that httpx writes of each request: one for each mail, for those of ours.

The application's own requests, and its configuration of logging, are left alone.
"""

from __future__ import annotations

import logging
from typing import Any

from .deadline import is_within

__all__ = ["hide_requests"]

#: The logger of `httpx._client`.
_logger = logging.getLogger("httpx")


def hide_requests(**kwargs: Any) -> None:
    """Hide them in this process, unless its log is at DEBUG. Once is enough, and more does no harm.

    A handler of Celery's signals `celeryd_init` and, for processes that are not forked, `worker_process_init`.
    """
    if _is_shown not in _logger.filters:
        _logger.addFilter(_is_shown)


def _is_shown(record: logging.LogRecord) -> bool:
    return record.levelno != logging.INFO or not is_within() or _logger.isEnabledFor(logging.DEBUG)
