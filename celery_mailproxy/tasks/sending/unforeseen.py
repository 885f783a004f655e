"""Unexpected errors: told apart from the others, and named without what they say."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate
from kombu.exceptions import OperationalError

from ...errors import ConfigurationError, StoreError, UnforeseenError, visible
from .outgoing import Outgoing

__all__ = ["FORESEEN", "RETRYABLE", "apart", "unforeseen"]

logger = logging.getLogger(__name__)

#: What passes by itself, or by a restart with the right settings; the mail waits for it, however long it takes.
RETRYABLE = (StoreError, OperationalError, ConfigurationError)

#: What no mail of a list can have caused: it is for the whole task. The last is Celery's own: `Retry`, `Ignore`.
FORESEEN = (*RETRYABLE, SoftTimeLimitExceeded, TaskPredicate)

#: How much of a traceback is logged, counted from where the error was raised.
_FRAMES = 8


class _Sum(Protocol):
    def __add__(self: _Any, other: _Any, /) -> _Any: ...


_Any = TypeVar("_Any")
_Answer = TypeVar("_Answer", bound=_Sum)


def unforeseen(exc: Exception, message_ids: Iterable[str]) -> UnforeseenError:
    """The error of these messages in place of `exc`, which is logged by its class and its way through the code."""
    passed = traceback.walk_tb(exc.__traceback__)
    frames = [f"{Path(frame.f_code.co_filename).name}:{line}" for frame, line in passed]
    kind = type(exc).__name__
    ids = ", ".join(map(visible, message_ids))
    logger.error("messages %s: an unexpected %s at %s", ids, kind, " > ".join(frames[-_FRAMES:]))
    return UnforeseenError(f"an unexpected {kind}{f' at {frames[-1]}' if frames else ''}")


def apart(
    exc: Exception,
    outgoing: Sequence[Outgoing],
    ask: Callable[[Sequence[Outgoing]], _Answer],
    unsettled: Callable[[Mapping[str, UnforeseenError]], _Answer],
) -> _Answer:
    """The answer for a list whose submission met an unforeseen error: of its halves, down to the one that caused it.

    `unsettled` makes the answer of that one. So no mail takes its neighbours down, whatever is wrong with it.
    """
    if len(outgoing) < 2:
        ids = [out.message.message_id for out in outgoing]
        return unsettled(dict.fromkeys(ids, unforeseen(exc, ids)))
    middle = len(outgoing) // 2
    return ask(outgoing[:middle]) + ask(outgoing[middle:])
