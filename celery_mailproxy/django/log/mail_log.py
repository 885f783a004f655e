"""`MailLog`: what is written to the log of a mail that is handed over to the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...conf.settings import Settings
from ...deliveries.stores.outbox import OutboxEntry
from ...runtime import Runtime
from .beginning import begin
from .entries import LogEntry
from .models import EmailLog
from .routing import log_alias
from .row_texts import exact
from .unpublished import end_unpublished

__all__ = ["MailLog"]


class MailLog:
    """The log in Django's database. `opening.open_log` opens it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def alias(self) -> str:
        """The alias of its database."""
        return log_alias()

    def begin(self, entries: Sequence[LogEntry], *, messages: Sequence[OutboxEntry] = ()) -> None:
        """See `beginning.begin`."""
        begin(entries, settings=self._settings, messages=messages)

    def rename_content(self, message_id: str, name: str) -> None:
        """Note under which name the file storage has the source of a mail. Raises Django's database errors."""
        EmailLog.objects.filter(message_id=exact(message_id)).update(content_name=name)

    def end_unpublished(self, task_ids: Mapping[str, str], problem: Exception, *, runtime: Runtime) -> None:
        """See `unpublished.end_unpublished`."""
        end_unpublished(task_ids, problem, runtime=runtime)
