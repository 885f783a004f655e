"""`EmailLog.objects`: beginning a log, finding mails by what they are about, and what may be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib.contenttypes.models import ContentType
from django.db import models, router

from ...conf.settings import Settings
from ...deliveries.delivery import Status
from ...deliveries.report import utcnow
from .row_texts import exact

if TYPE_CHECKING:
    from .entries import LogEntry
    from .models import EmailLog

__all__ = ["ENDS", "EmailLogManager", "EmailLogQuerySet"]

#: The statuses after which nothing more is awaited.
ENDS = tuple(status.value for status in Status if status.is_end)


class EmailLogQuerySet(models.QuerySet["EmailLog"]):
    """What can be asked of the log beside Django's own."""

    def for_object(self, related: models.Model) -> EmailLogQuerySet:
        """The mails that are about this object; see `related=` of `send_mail`."""
        return self.filter(
            relations__content_type=ContentType.objects.get_for_model(related, for_concrete_model=True),
            relations__object_id=exact(str(related.pk)),
        )

    def ended(self) -> EmailLogQuerySet:
        """Mails of which nothing more is awaited."""
        return self.filter(status__in=ENDS)

    def expired(self, now: datetime | None = None) -> EmailLogQuerySet:
        """Mails whose time to be kept is over."""
        return self.filter(expires_at__lte=now or utcnow())

    def prune(self, *, batch_size: int = 500) -> int:
        """Delete these mails with their history and kept contents, a transaction each batch; the number deleted.

        In the order of the query, which should be one of an index. A mail that somebody is writing to may be left.
        """
        from .pruning import prune_batch

        # Where it is written to: what is deleted is locked first.
        rows = self.using(self._db or router.db_for_write(self.model))  # type: ignore[attr-defined]
        number = 0
        while deleted := prune_batch(rows, limit=batch_size):
            number += deleted
        return number


class EmailLogManager(models.Manager.from_queryset(EmailLogQuerySet)):  # type: ignore[misc]
    """The manager of `EmailLog`."""

    def begin(self, entries: Sequence[LogEntry], *, settings: Settings) -> list[EmailLog]:
        """Log mails as new, in the caller's transaction and before they are published; the rows, in this order.

        A fixed number of queries, however many they are. A message id that is there already keeps its row as it is:
        an id is sent once however often it is asked for. What the settings switch off is not written. Raises Django's
        database errors.
        """
        from .beginning import begin

        return begin(entries, settings=settings, alias=self._db or router.db_for_write(self.model)) if entries else []
