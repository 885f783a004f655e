"""Files of mails that were never logged: a transaction was undone after the file had been written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from ...deliveries.report import utcnow
from . import content
from .fields import aware
from .models import EmailLog
from .routing import log_alias

__all__ = ["discard_orphans"]

logger = logging.getLogger(__name__)

#: No transaction takes so long, and no mail that was logged elsewhere waits so long for the proxy.
_PATIENCE = timedelta(days=7)

# SQLite takes no more than 999 parameters in older builds.
_NAMES_AT_ONCE = 500


def discard_orphans() -> int:
    """Delete the sources of mails that no row of the log names; their number. Never raises what the storage raises."""
    try:
        before = utcnow() - _PATIENCE
        names = [name for name in content.names() if aware(content.storage().get_modified_time(name)) < before]
    except Exception as exc:
        # A storage that cannot list its files has none found.
        logger.debug("no files of emails were looked for: %s", type(exc).__name__)
        return 0
    number = 0
    for start in range(0, len(names), _NAMES_AT_ONCE):
        number += _discard(names[start : start + _NAMES_AT_ONCE])
    return number


def _discard(names: Sequence[str]) -> int:
    rows = EmailLog.objects.using(log_alias()).filter(content_name__in=names)
    named = set(rows.values_list("content_name", flat=True))
    orphans = [name for name in names if name not in named]
    content.discard(orphans)
    return len(orphans)
