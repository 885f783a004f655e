"""The Django models of the log; `log.models` defines them."""

from __future__ import annotations

from .log.models import EmailLog, EmailLogEvent, EmailLogRelation, MailCount, OperatorValue

__all__ = ["EmailLog", "EmailLogEvent", "EmailLogRelation", "MailCount", "OperatorValue"]
