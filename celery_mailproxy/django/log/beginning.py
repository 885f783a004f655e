"""`begin`: mails are logged as new before they are published."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from email.utils import parseaddr
from typing import Any

from django.contrib.contenttypes.models import ContentType
from django.db import transaction

from ...conf.settings import Settings
from ...deliveries.report import utcnow
from ...deliveries.stores.outbox import OutboxEntry
from .entries import LogEntry
from .models import EmailLog, EmailLogEvent
from .outbox import insert
from .relations import EmailLogRelation
from .routing import log_alias
from .row_codec import envelope_columns
from .row_texts import exact, shown
from .tags import write_tags
from .unpublished import is_unpublished

__all__ = ["begin"]


def begin(entries: Sequence[LogEntry], *, settings: Settings, messages: Sequence[OutboxEntry] = ()) -> list[EmailLog]:
    """Log mails as new, in the caller's transaction and before they are published; the rows, in this order.

    `messages` are those of their tasks, for the outbox: they are written with the rows, or not at all.

    A fixed number of queries, however many they are. A message id that is there already keeps its row as it is: an id
    is sent once however often it is asked for. What the settings switch off is not written. Raises Django's database
    errors.
    """
    if not entries:
        return []
    alias = log_alias()
    rows = [_row(entry, settings, alias) for entry in entries]
    logs = EmailLog.objects.using(alias).defer("content")
    with transaction.atomic(using=alias):
        # Not to fail on a repeated id: inside the caller's transaction that would spoil all of it.
        logs.bulk_create(rows, ignore_conflicts=True)
        if messages:
            insert(messages)
        found = {row.message_id: row for row in logs.filter(message_id__in={row.message_id for row in rows})}
        for row in rows:
            if (old := found.get(row.message_id)) is not None and is_unpublished(old):
                found[row.message_id] = _begun_anew(old, row, alias)
        # A row that another has begun at the same moment may be out of a transaction's sight; it is there all the same.
        kept = [found.get(row.message_id, row) for row in rows]
        begun = {row.message_id for row in rows if (old := found.get(row.message_id)) and old.tags == row.tags}
        tagged = {
            row.message_id: (found[row.message_id].pk, entry.tags)
            for row, entry in zip(rows, entries, strict=True)
            if entry.tags and row.message_id in begun
        }
        write_tags(tagged.values(), alias=alias)
        relations = [
            EmailLogRelation(log=row, content_type_id=_content_type_id(related), object_id=exact(str(related.pk)))
            for row, entry in zip(kept, entries, strict=True)
            if row.pk is not None
            for related in entry.related
        ]
        if relations:
            EmailLogRelation.objects.using(alias).bulk_create(relations, ignore_conflicts=True)
    return kept


def _begun_anew(old: EmailLog, row: EmailLog, alias: str) -> EmailLog:
    """The row of a mail that no broker took, as that of another try under the same id."""
    EmailLogEvent.objects.using(alias).filter(log_id=old.pk).delete()
    row.pk, row.created_at = old.pk, old.created_at
    row.save(using=alias, force_update=True)
    return row


def _row(entry: LogEntry, settings: Settings, alias: str) -> EmailLog:
    now = utcnow()
    return EmailLog(
        created_at=now,
        updated_at=now,
        expires_at=now + timedelta(seconds=settings.store_ttl_seconds),
        content=entry.content if settings.log_content else None,
        content_name=entry.content_name,
        return_path=_return_path(entry, settings, alias),
        resent_from_id=entry.resent_from_id,
        **envelope_columns(entry, _summary(entry, settings), alias=alias),
    )


def _return_path(entry: LogEntry, settings: Settings, alias: str) -> str | None:
    """The envelope's sender where it is another than the sender, and may be kept: it may name the recipient."""
    is_kept = settings.store_summary and settings.log_recipients
    is_other = entry.return_path not in (None, parseaddr(entry.sender)[1])
    return shown(entry.return_path or "", alias) if is_kept and is_other else None


def _summary(entry: LogEntry, settings: Settings) -> dict[str, Any]:
    """As `Submitter` makes it later on, with what the settings leave of it."""
    if not settings.store_summary:
        return {}
    summary: dict[str, Any] = {"recipients": len(entry.recipients)}
    if settings.log_subject:
        summary["subject"] = entry.subject
    if settings.log_recipients:
        summary |= {"from": entry.sender, "to": list(entry.recipients)}
    return {**summary, "priority": int(entry.priority)}


def _content_type_id(related: Any) -> int:
    # Django keeps content types in memory: no query each.
    return ContentType.objects.get_for_model(related, for_concrete_model=True).pk
