"""The log's rows: read at one moment, or locked, loaded and saved by a transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.db import connections, models, transaction

from ...deliveries.delivery import Delivery
from ...deliveries.stores.base import Retention
from ...deliveries.stores.row_store import Loaded
from ...errors import DamagedRecord
from . import content
from .models import EmailLog, EmailLogEvent
from .row_codec import delivery_of, event_columns, log_columns
from .row_texts import exact
from .tags import write_tags

__all__ = ["LogRows", "put_off", "read_ids", "read_keys"]

M = TypeVar("M", bound=models.Model)
T = TypeVar("T")

# SQLite takes no more than 999 parameters in older builds.
_IDS_AT_ONCE = 500

# An update of single rows compares each with each.
_UPDATED_AT_ONCE = 200

_LOG_COLUMNS = tuple(field.attname for field in EmailLog._meta.concrete_fields if field.name != "content")
_EVENT_COLUMNS = tuple(field.attname for field in EmailLogEvent._meta.concrete_fields)


class LogRows:
    """The rows as one open transaction sees them (see `stores.rows.Rows`)."""

    def __init__(self, connection: Any, retention: Retention, *, hides_addresses: bool) -> None:
        self._connection = connection
        self._alias: str = connection.alias
        self._retention = retention
        self._hides_addresses = hides_addresses
        self._rows: dict[str, EmailLog] = {}
        self._events: dict[int, dict[str, EmailLogEvent]] = {}
        self._loaded: dict[str, Delivery] = {}

    def load(self, message_ids: Sequence[str]) -> Loaded:
        logs = EmailLog.objects.using(self._alias).defer("content").select_for_update()
        for ids in self._batches(sorted(exact(message_id) for message_id in message_ids)):
            # In one order for all: those who lock the same rows wait for each other, and not in a circle.
            self._rows |= {row.message_id: row for row in logs.filter(message_id__in=ids).order_by("id")}
        self._load_events()
        loaded = _decoded((row, self._events.get(row.pk, {}).values()) for row in self._rows.values())
        self._loaded = dict(loaded.deliveries)
        return loaded

    def save(self, deliveries: Sequence[Delivery]) -> None:
        new: list[EmailLog] = []
        changed: list[EmailLog] = []
        tagged: dict[str, Sequence[str]] = {}
        names: set[str] = set()
        kept_contents: list[str] = []
        for delivery in deliveries:
            row = self._rows.get(exact(delivery.message_id))
            columns = log_columns(
                delivery,
                row=row,
                retention=self._retention,
                alias=self._alias,
                hides_addresses=self._hides_addresses,
            )
            if row is None:
                row = self._rows[columns["message_id"]] = EmailLog(**columns)
                new.append(row)
                tagged |= {row.message_id: delivery.tags} if delivery.tags else {}
                continue
            if delivery.is_ended and not row.is_ended and row.content_name:
                kept_contents.append(row.content_name)
            if differing := _assign(row, columns):
                changed.append(row)
                names |= differing
                tagged |= {row.message_id: delivery.tags} if "tags" in differing else {}
        if new:
            self._insert(new)
        self._update(EmailLog, changed, names)
        write_tags([(self._rows[each].pk, tags) for each, tags in tagged.items()], alias=self._alias)
        self._save_events(deliveries)
        if kept_contents:
            transaction.on_commit(partial(_discard, kept_contents, self._alias), using=self._alias)

    def delete(self, message_ids: Sequence[str]) -> None:
        rows = [self._rows.pop(exact(message_id)) for message_id in message_ids]
        for keys in self._batches([row.pk for row in rows]):
            EmailLog.objects.using(self._alias).filter(pk__in=keys).delete()
        if names := [row.content_name for row in rows if row.content_name]:
            transaction.on_commit(partial(content.discard, names), using=self._alias)

    def _load_events(self) -> None:
        events = EmailLogEvent.objects.using(self._alias).order_by("log_id", "position")
        if self._connection.vendor == "mysql":
            # Under "repeatable read" a plain read in a caller's transaction shows what was there before the lock.
            events = events.select_for_update()
        for ids in self._batches([row.pk for row in self._rows.values()]):
            for event in events.filter(log_id__in=ids):
                self._events.setdefault(event.log_id, {})[event.key] = event

    def _save_events(self, deliveries: Iterable[Delivery]) -> None:
        new: list[EmailLogEvent] = []
        changed: list[EmailLogEvent] = []
        gone: list[int] = []
        names: set[str] = set()
        for delivery in deliveries:
            row = self._rows[exact(delivery.message_id)]
            loaded = self._loaded.get(delivery.message_id)
            before = loaded.history if loaded else ()
            events = dict(self._events.get(row.pk, {}))
            for position, entry in enumerate(delivery.history):
                event = events.pop(exact(entry.report.key), None)
                if event is not None and position < len(before) and before[position] is entry:
                    continue
                columns = event_columns(
                    entry, position=position, alias=self._alias, hides_addresses=self._hides_addresses
                )
                if event is None:
                    new.append(EmailLogEvent(log_id=row.pk, **columns))
                elif differing := _assign(event, columns):
                    changed.append(event)
                    names |= differing
            gone += [event.pk for event in events.values()]
        for ids in self._batches(gone):
            EmailLogEvent.objects.using(self._alias).filter(pk__in=ids).delete()
        if new:
            EmailLogEvent.objects.using(self._alias).bulk_create(new)
        self._update(EmailLogEvent, changed, names)

    def _insert(self, rows: list[EmailLog]) -> None:
        EmailLog.objects.using(self._alias).bulk_create(rows)
        if not self._connection.features.can_return_rows_from_bulk_insert:
            # MySQL: the events need to know whose they are.
            for each in self._batches([row.message_id for row in rows]):
                ids = EmailLog.objects.using(self._alias).filter(message_id__in=each)
                for message_id, pk in ids.values_list("message_id", "pk"):
                    self._rows[message_id].pk = pk

    def _update(self, model: type[M], rows: list[M], names: set[str]) -> None:
        """Write these columns of the rows: mostly the same into all of them."""
        if not rows:
            return
        manager = model._default_manager.using(self._alias)
        ordered = sorted(names)
        values = [tuple(getattr(row, name) for name in ordered) for row in rows]
        if any(each != values[0] for each in values):
            manager.bulk_update(rows, ordered, batch_size=_UPDATED_AT_ONCE)
            return
        for ids in self._batches([row.pk for row in rows]):
            manager.filter(pk__in=ids).update(**dict(zip(ordered, values[0], strict=True)))

    def _batches(self, values: list[T]) -> Iterator[list[T]]:
        return _batches(values, self._connection)


def read_ids(message_ids: Sequence[str], alias: str) -> Loaded:
    """The known ones among these deliveries, each as it was at one moment."""
    return _read_in("message_id", [exact(message_id) for message_id in message_ids], alias)


def read_keys(keys: Iterable[int], alias: str) -> Loaded:
    """The deliveries of the rows with these primary keys, each as it was at one moment."""
    return _read_in("pk", list(keys), alias)


def put_off(message_ids: Sequence[str], until: datetime, alias: str) -> None:
    """Let these be due at that moment, of which anything is awaited."""
    for batch in _batches([exact(message_id) for message_id in message_ids], connections[alias]):
        EmailLog.objects.using(alias).filter(message_id__in=batch, due_at__isnull=False).update(due_at=until)


def _read_in(column: str, values: list[T], alias: str) -> Loaded:
    logs = EmailLog.objects.using(alias)
    parts = [_read(logs.filter(**{f"{column}__in": batch})) for batch in _batches(values, connections[alias])]
    return Loaded(
        {message_id: found for part in parts for message_id, found in part.deliveries.items()},
        {message_id: problem for part in parts for message_id, problem in part.damaged.items()},
    )


def _read(rows: models.QuerySet[EmailLog]) -> Loaded:
    """The deliveries of these rows. One query: a row and its events are as they were at one moment."""
    found: dict[int, tuple[EmailLog, list[EmailLogEvent]]] = {}
    columns = (*_LOG_COLUMNS, *(f"events__{name}" for name in _EVENT_COLUMNS))
    for values in rows.order_by("id", "events__position").values_list(*columns):
        log = EmailLog.from_db(rows.db, _LOG_COLUMNS, values[: len(_LOG_COLUMNS)])
        event = EmailLogEvent.from_db(rows.db, _EVENT_COLUMNS, values[len(_LOG_COLUMNS) :])
        _, events = found.setdefault(log.pk, (log, []))
        if event.pk is not None:
            events.append(event)
    return _decoded(found.values())


def _decoded(rows: Iterable[tuple[EmailLog, Iterable[EmailLogEvent]]]) -> Loaded:
    deliveries: dict[str, Delivery] = {}
    damaged: dict[str, str] = {}
    for log, events in rows:
        try:
            delivery = delivery_of(log, events)
            deliveries[delivery.message_id] = delivery
        except DamagedRecord as exc:
            damaged |= dict.fromkeys(exc.message_ids, exc.problem)
    return Loaded(deliveries, damaged)


def _batches(values: list[T], connection: Any) -> Iterator[list[T]]:
    size = _IDS_AT_ONCE if connection.features.max_query_params else max(1, len(values))
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _assign(row: models.Model, columns: dict[str, Any]) -> set[str]:
    """Give the row these values; the names of those that differ from what it had."""
    differing = {name for name, value in columns.items() if getattr(row, name) != value}
    for name in differing:
        setattr(row, name, columns[name])
    return differing


def _discard(names: Sequence[str], alias: str) -> None:
    content.discard(names)
    # After the files: a name that is left over is tried again when its row is pruned.
    EmailLog.objects.using(alias).filter(content_name__in=names).update(content_name="")
