"""What tasks carry stays out of the lines that Celery's worker logs about them.

At DEBUG the pool logs the message of each task that it gets; at any level the consumer logs the whole body of a message
that it cannot use, such as one of a task that the worker does not know. With mails among the tasks these lines hold
texts and addresses.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from ...errors import redact

__all__ = ["hide_arguments_in_logs"]

#: The logger of `celery.concurrency.base`, and that of `celery.worker.consumer.consumer`.
_POOL, _CONSUMER = "celery.pool", "celery.worker.consumer.consumer"

#: How the pool's line shows the arguments of `trace_task`: the task's name, its id, and all the rest.
_TRACED = re.compile(r"\('(?P<name>[^']*)', '(?P<id>[^']*)', ")

#: How `celery.worker.consumer.consumer.dump_body` ends.
_BODY = re.compile(r".* \((\d+)b\)", re.DOTALL)


def hide_arguments_in_logs() -> None:
    """Hide them in this process, whichever tasks they are of. Once is enough, and more does no harm."""
    for name, hide in ((_POOL, _hide_applied), (_CONSUMER, _hide_body)):
        logger = logging.getLogger(name)
        if hide not in logger.filters:
            logger.addFilter(hide)


def _hide_applied(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and str(record.msg).startswith("TaskPool: Apply") and len(record.args) == 3:
        target, args, _ = record.args
        traced = _TRACED.match(str(args))
        shown = f"('{traced['name']}', '{traced['id']}', …)" if traced else "(…)"
        record.args = (target, shown, "{…}")
    return True


def _hide_body(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple) and any(isinstance(arg, str) and _BODY.search(arg) for arg in record.args):
        record.args = tuple(map(_hidden, record.args))
    return True


def _hidden(arg: Any) -> Any:
    """An argument of a line about a message: its body's size, and of its headers no address."""
    if isinstance(arg, Exception):
        return arg
    return redact(_BODY.sub(r"<body of \1 bytes>", str(arg)))
