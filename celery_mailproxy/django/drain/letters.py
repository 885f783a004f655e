"""Keeping dead letters: `keep`, and `forget` once the proxy has the mail."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...errors import redact
from .models import DeadLetter
from .queued import QueuedMail

__all__ = ["forget", "keep"]

logger = logging.getLogger(__name__)


def keep(
    mails: Iterable[QueuedMail], reasons: Mapping[str, str], *, task_id: str, using: str | None, ended: int
) -> None:
    """Keep those of the mails that there is a reason for, by message id. Those that are kept stay as they are.

    Raises Django's database errors.
    """
    for mail in mails:
        if (reason := reasons.get(mail.message_id)) is None:
            continue
        reason = redact(reason)
        values = {"task_id": task_id, "reason": reason, "content": mail.text, "using": using or "", "ended": ended}
        DeadLetter.objects.get_or_create(message_id=mail.message_id, defaults=values)
        logger.error("message %s is kept as a dead letter: %s", mail.message_id, reason)


def forget(message_ids: Iterable[str]) -> None:
    """Delete the dead letters of mails that the proxy has by now."""
    if ids := list(message_ids):
        DeadLetter.objects.filter(message_id__in=ids).delete()
