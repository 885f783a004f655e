"""Deliveries in Django's database, by its ORM: the default store once `celery_mailproxy.django` is installed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, TypeVar

from django.db import Error
from django.db.models import QuerySet, Sum

from ...conf.settings import Settings
from ...deliveries.delivery import Delivery
from ...deliveries.recording import Dispatched, Recorded
from ...deliveries.report import DeliveryReport, utcnow
from ...deliveries.sought_address import SoughtAddress
from ...deliveries.stores.base import AS_USUAL, COUNTS_KEPT, Advanced, Erased, Recording, Retention, count_span
from ...deliveries.stores.erased_pages import PAGE
from ...deliveries.stores.outbox import Outbox
from ...deliveries.stores.row_store import Rows, RowStore, page_on, unique
from ...deliveries.suspension import Step
from ...errors import ConfigurationError
from ...runtime import get_runtime
from .database import explain, is_lost, is_transient, note_use, own_connection, unix_seconds, writing
from .erasing import erase_sources, in_dead_letters
from .models import EmailLog, EmailLogEvent
from .orphans import discard_orphans
from .outbox import DjangoOutbox
from .pruning import PRUNED_AT_ONCE, prune_batch
from .routing import log_alias
from .row_codec import message_id_of
from .rows import LogRows, put_off, read_ids, read_keys
from .suppression import DjangoSuppression
from .values import MailCount, OperatorValue, add_counts

__all__ = ["DjangoStore"]

T = TypeVar("T")

#: How often a transaction is tried that others got in the way of.
_TRIES = 8


class DjangoStore(RowStore):
    """A store in the tables of `EmailLog` and `EmailLogEvent`, in the database that the router names for writing.

    Each call is one transaction, or a savepoint where the caller has begun one: what it writes is then committed, and
    undone, with the caller's own, and its rows stay locked until then. Only a transaction of the store's own is tried
    again after a deadlock or on a fresh connection.
    `settings` gives the settings at the time of a call: `log_subject` and `log_recipients` say what is written.
    """

    keeps_envelope = True
    has_outbox_by_default = True

    def __init__(
        self,
        retention: Retention,
        *,
        clock: Callable[[], datetime] = utcnow,
        settings: Callable[[], Settings] = lambda: get_runtime().settings,
    ) -> None:
        super().__init__(retention, clock=clock)
        self._settings = settings
        self.suppression = DjangoSuppression(self._run)

    @classmethod
    def from_url(cls, url: str, retention: Retention, *, clock: Callable[[], datetime] = utcnow) -> DjangoStore:
        """`django://`, with nothing behind it: a database router says which database it is."""
        if url != "django://":
            raise ConfigurationError(
                f"a Django store must be 'django://' and nothing more, got {url!r}; another database than 'default' is "
                f"chosen by DATABASE_ROUTERS"
            )
        return cls(retention, clock=clock)

    def __repr__(self) -> str:
        return "DjangoStore()"

    @property
    def outbox(self) -> Outbox:
        return DjangoOutbox(self._run)

    def register(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        settings = self._settings()
        hidden = set() if settings.log_subject else {"subject"}
        hidden |= set() if settings.log_recipients else {"from", "to"}
        if hidden:
            deliveries = [replace(each, summary=_without(each.summary, hidden)) for each in deliveries]
        return self._run(lambda: RowStore.register(self, deliveries))

    def withdraw(self, message_ids: Sequence[str]) -> list[Delivery]:
        return self._run(lambda: RowStore.withdraw(self, message_ids))

    def take_back(self, message_ids: Sequence[str], run: str) -> None:
        self._run(lambda: RowStore.take_back(self, message_ids, run))

    def record(self, reports: Sequence[DeliveryReport], *, claim: str, how: Recording = AS_USUAL) -> list[Recorded]:
        return self._run(lambda: RowStore.record(self, reports, claim=claim, how=how))

    def mark_dispatched(self, dispatched: Sequence[Dispatched]) -> None:
        self._run(lambda: RowStore.mark_dispatched(self, dispatched))

    def advance(self, message_id: str, step: Step, *, token: str | None = None) -> Advanced:
        return self._run(lambda: RowStore.advance(self, message_id, step, token=token))

    def record_submitted(self, report: DeliveryReport, *, claim: str) -> Advanced:
        return self._run(lambda: RowStore.record_submitted(self, report, claim=claim))

    def get(self, message_id: str) -> Delivery | None:
        loaded = self._run(lambda: read_ids([message_id], log_alias()))
        loaded.refuse_damage()
        return loaded.deliveries.get(message_id)

    def get_many(self, message_ids: Sequence[str]) -> list[Delivery | None]:
        loaded = self._run(lambda: read_ids(unique(message_ids), log_alias()))
        self._pass_over(loaded.damaged)
        return [loaded.deliveries.get(message_id) for message_id in message_ids]

    def undispatched(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        events = EmailLogEvent.objects.using(log_alias()).filter(claimed_at__lt=before).order_by("claimed_at", "pk")
        return self._find(events.values_list("log_id", flat=True), limit)

    def stalled(self, *, before: datetime, limit: int = 100) -> list[Delivery]:
        logs = EmailLog.objects.using(log_alias()).filter(silent_since__lt=before).order_by("silent_since", "pk")
        return self._find(logs.values_list("pk", flat=True), limit)

    def due(self, *, now: datetime, limit: int = 100) -> list[Delivery]:
        logs = EmailLog.objects.using(log_alias()).filter(due_at__lt=now).order_by("due_at", "pk")
        return self._find(logs.values_list("pk", flat=True), limit)

    def put_off(self, message_ids: Sequence[str], *, until: datetime) -> None:
        self._run(lambda: put_off(message_ids, until, log_alias()))

    def _find(self, rows: QuerySet[Any, Any], limit: int) -> list[Delivery]:
        def read(start: int) -> tuple[int, Iterable[Delivery]]:
            keys = self._run(lambda: list(rows[start : start + limit]))
            loaded = self._run(lambda: read_keys(set(keys), log_alias()))
            self._pass_over(loaded.damaged)
            return len(keys), loaded.deliveries.values()

        return page_on(read, limit)

    def failed(self, *, limit: int = 100) -> list[str]:
        def find() -> list[str]:
            # `in`: for a bare boolean SQLite and MariaDB would not look into the index.
            rows = EmailLog.objects.using(log_alias()).filter(has_failed__in=[True]).order_by("created_at", "id")
            return [message_id_of(*row) for row in rows.values_list("message_id", "details")[:limit]]

        return self._run(find)

    def prune(self, *, now: datetime | None = None, limit: int = 1000) -> int:
        moment = now or self.clock()
        number = 0
        while number < limit:
            batch = min(PRUNED_AT_ONCE, limit - number)
            expired = EmailLog.objects.using(log_alias()).expired(moment).order_by("expires_at")
            deleted = self._run(partial(prune_batch, expired, limit=batch))
            number += deleted
            if deleted < batch:
                self._run(discard_orphans)
                break
        old = MailCount.objects.using(log_alias()).filter(span__lt=count_span(moment - COUNTS_KEPT))
        self._run(old.delete)
        return number

    def erase(self, sought: SoughtAddress, *, is_dry_run: bool = False) -> Iterator[Erased]:
        yield from super().erase(sought, is_dry_run=is_dry_run)
        yield from in_dead_letters(sought, self._run)

    def _id_pages(self) -> Iterator[Sequence[str]]:
        logs = EmailLog.objects.using(log_alias()).order_by("pk").values_list("pk", "message_id", "details")
        page: list[tuple[int, str, str]]
        last = 0
        while page := self._run(partial(list, logs.filter(pk__gt=last)[:PAGE])):
            yield [message_id_of(written, details) for _, written, details in page]
            last = page[-1][0]

    def _erase_page(self, message_ids: Sequence[str], sought: SoughtAddress, *, is_dry_run: bool) -> Erased:
        def erase() -> Erased:
            # Together: whoever begins a mail anew under its id waits for both.
            with writing(EmailLog, log_alias()):
                page = RowStore._erase_page(self, message_ids, sought, is_dry_run=is_dry_run)
                return page.joined(erase_sources(message_ids, sought, log_alias(), is_dry_run=is_dry_run))

        return self._run(erase)

    def get_value(self, name: str) -> str | None:
        values = OperatorValue.objects.using(log_alias()).filter(name=name).values_list("value", flat=True)
        return self._run(values.first)

    def set_value(self, name: str, value: str | None) -> None:
        values = OperatorValue.objects.using(log_alias())
        if value is None:
            self._run(values.filter(name=name).delete)
        else:
            self._run(lambda: values.update_or_create(name=name, defaults={"value": value}))

    def swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        return self._run(lambda: self._swap_value(name, before, after))

    def _swap_value(self, name: str, before: str | None, after: str | None) -> bool:
        values = OperatorValue.objects.using(log_alias()).filter(name=name)
        if before is None:
            with writing(OperatorValue, log_alias()):
                # Where another has begun the row meanwhile, the whole is tried again, and finds it.
                is_same = not values.exists()
                if is_same and after is not None:
                    values.create(name=name, value=after)
            return is_same
        same = values.filter(value=before)
        return bool(same.delete()[0] if after is None else same.update(value=after))

    def count(self, numbers: Mapping[str, int], *, at: datetime) -> None:
        self._run(lambda: add_counts(numbers, count_span(at), log_alias()))

    def counts(self, *, since: datetime) -> dict[str, int]:
        rows = MailCount.objects.using(log_alias()).filter(span__gte=count_span(since))
        totals = rows.values_list("name").annotate(total=Sum("number")).order_by()
        return self._run(lambda: {name: int(number) for name, number in totals})

    def check(self) -> str:
        def look() -> str:
            with self._transaction() as rows:
                rows.load([""])
            connection = own_connection(log_alias())
            version = ".".join(str(part) for part in connection.get_database_version())
            return f"{connection.display_name} {version}, Django's database {connection.alias!r}"

        return self._run(look)

    def server_time(self) -> datetime | None:
        def read() -> datetime | None:
            seconds = unix_seconds(own_connection(log_alias()))
            return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)

        return self._run(read)

    def close(self) -> None:
        """Close this thread's connection, unless a transaction is open on it: that is the caller's."""
        connection = own_connection(log_alias())
        if not connection.in_atomic_block:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Rows]:
        alias = log_alias()
        raw = None
        is_complete = False
        try:
            with writing(EmailLog, alias) as connection:
                raw = connection.connection
                yield LogRows(connection, self.retention, hides_addresses=not self._settings().log_recipients)
                is_complete = True
        except Error as exc:
            if is_complete and is_lost(own_connection(alias), raw):
                # Lost in the commit: nobody knows whether it counts, so it is not for us to do it once more.
                raise explain(exc, alias) from exc
            raise

    def _run(self, call: Callable[[], T]) -> T:
        """The call's answer; tried again where that may help and nothing of the caller's is at stake."""
        alias = log_alias()
        connection = own_connection(alias)
        is_ours = not connection.in_atomic_block
        tries = 0
        try:
            while True:
                tries += 1
                raw = connection.connection
                try:
                    return call()
                except Error as exc:
                    if not is_ours or tries == _TRIES or not _is_worth_a_retry(exc, connection, raw, tries):
                        raise explain(exc, alias) from exc
                # Not all at once, or they would be in each other's way again.
                # A pause.
                time.sleep(random.uniform(0, 0.01 * 2**tries))  # noqa: S311  # nosec B311
        finally:
            note_use(alias)


def _is_worth_a_retry(error: Error, connection: Any, raw: Any, tries: int) -> bool:
    if is_transient(error, connection):
        return True
    if tries > 1 or not is_lost(connection, raw):
        return False
    # The server has been restarted, or has closed what was idle for long: a fresh connection may do.
    connection.close()
    return True


def _without(summary: Mapping[str, Any], hidden: set[str]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name not in hidden}
