"""The Django models of the log; `log.models`, `log.relations`, `log.suppressed` and `log.values` define them."""

from __future__ import annotations

from .log.models import EmailLog, EmailLogEvent, EmailLogTag
from .log.relations import EmailLogRelation
from .log.suppressed import SuppressedEmail
from .log.values import MailCount, OperatorValue, OutboxMessage

__all__ = [
    "EmailLog",
    "EmailLogEvent",
    "EmailLogRelation",
    "EmailLogTag",
    "MailCount",
    "OperatorValue",
    "OutboxMessage",
    "SuppressedEmail",
]
