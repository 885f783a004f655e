"""`LogEntry`: what the web process knows of a mail before anything of it is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...conf.settings import DEFAULT_SERVER
from ...mail.message import Priority

if TYPE_CHECKING:
    from django.db.models import Model

__all__ = ["LogEntry"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """A mail to be logged as new. What the `log_*` settings switch off is left out when it is written.

    `recipients` are all of them, as they stand in headers. `related` are saved objects that the mail is about.
    `return_path` is the envelope's sender. `content` is its source (RFC 5322); `content_name` the name of a file to be
    deleted when the mail has ended. `resent_from_id` is the key of the row that this one repeats. `expires_at` is when
    the mail must not be sent any more.
    """

    message_id: str
    sender: str = ""
    recipients: Sequence[str] = field(default=(), repr=False)
    subject: str = field(default="", repr=False)
    priority: int = Priority.MEDIUM
    tenant_id: str | None = None
    account_id: str | None = None
    server: str = DEFAULT_SERVER
    batch_code: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    tags: Sequence[str] = ()
    expires_at: datetime | None = None
    task_id: str | None = None
    parent_id: str | None = None
    related: Sequence[Model] = ()
    content: bytes | None = field(default=None, repr=False)
    content_name: str = ""
    return_path: str | None = field(default=None, repr=False)
    resent_from_id: int | None = None
