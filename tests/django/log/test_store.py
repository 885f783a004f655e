"""The store `django://`: the contract of every store, and what is its own; `other_database` runs it elsewhere, too."""

from __future__ import annotations

import json
import os
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils.connection import ConnectionDoesNotExist
from hypothesis import HealthCheck, given, settings
from psycopg import IsolationLevel

from celery_mailproxy.conf.settings import Settings
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.recording import Dispatched, Verdict
from celery_mailproxy.deliveries.report import Kind
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention, open_store
from celery_mailproxy.deliveries.stores.base import Recording
from celery_mailproxy.deliveries.stores.outbox import Outbox, OutboxEntry
from celery_mailproxy.deliveries.suspension import Step, Suspension
from celery_mailproxy.django.log import beginning, content, row_texts
from celery_mailproxy.django.log.database import explain
from celery_mailproxy.django.log.entries import LogEntry
from celery_mailproxy.django.log.store import DjangoStore
from celery_mailproxy.django.models import EmailLog, EmailLogEvent
from celery_mailproxy.errors import ConfigurationError, StoreError
from tests.contract import (
    test_awaiting_contract,
    test_board_contract,
    test_erasing_contract,
    test_joining_contract,
    test_outbox_contract,
    test_store_contract,
    test_suppression_contract,
    test_suspension_contract,
    test_withdrawal_contract,
)
from tests.contract.store_values import (
    RETENTION,
    START,
    Clock,
    MakeStore,
    deliveries,
    delivery,
    new_id,
    report,
    sent_entry,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long(150)]

# The contract: its tests run here with the fixtures below.
for contract in (
    test_store_contract,
    test_suspension_contract,
    test_joining_contract,
    test_board_contract,
    test_outbox_contract,
    test_erasing_contract,
    test_awaiting_contract,
    test_suppression_contract,
    test_withdrawal_contract,
):
    globals().update({n: v for n, v in vars(contract).items() if n.startswith("test_") and "redis" not in n})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_store(clock: Clock) -> MakeStore:
    """Opens one more store on the deliveries of this test."""

    def make(retention: Retention = RETENTION, **fields: Any) -> DeliveryStore:
        return DjangoStore(retention, clock=clock, settings=lambda: Settings(**fields))

    return make


@pytest.fixture
def store(make_store: MakeStore) -> DeliveryStore:
    return make_store()


@pytest.fixture
def outbox(store: DeliveryStore) -> Outbox:
    return store.outbox


def rows_of(message_id: str) -> tuple[EmailLog, list[EmailLogEvent]]:
    log = EmailLog.objects.get(message_id=message_id)
    return log, list(log.events.all())


def in_threads(number: int, work: Callable[[int], None]) -> None:
    """Run the work in threads at once; what one of them raises is raised here."""
    with ThreadPoolExecutor(number) as pool:
        list(pool.map(work, range(number)))


needs_server = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no server")


# --- rows


def test_columns_are_for_people(store: DeliveryStore) -> None:
    summary = {
        "subject": "Grüße 👋",
        "recipients": 2,
        "from": "Shop <s@e.com>",
        "to": ["a@e.com", "b@e.com"],
        "priority": 1,
    }
    store.register([delivery("m", tenant_id="t1", account_id="main", summary=summary)])
    store.record([report("m", Kind.QUEUED), report("m", Kind.DEFERRED, 1, reason="later")], claim="task-1")
    log, events = rows_of("m")
    assert (log.status, log.subject, log.sender) == ("deferred", "Grüße 👋", "Shop <s@e.com>")
    assert (log.recipients, log.recipient_count, log.recipient_list) == ("a@e.com\nb@e.com", 2, ["a@e.com", "b@e.com"])
    assert (log.tenant_id, log.account_id, log.priority, log.attempts) == ("t1", "main", 1, 1)
    assert (log.error_message, log.queued_at, log.sent_at, log.ended_at) == ("later", START, None, None)
    assert [(event.position, event.kind, event.reason) for event in events] == [
        (0, "queued", ""),
        (1, "deferred", "later"),
    ]
    # Nothing needed a second place.
    assert (log.details, *(event.details for event in events)) == ("", "", "")
    assert "e.com" not in str(log)


def test_history_is_kept_in_the_events_and_nowhere_else(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    store.record([report("m", Kind.QUEUED), report("m", Kind.SENT, 1)], claim="task-1")
    EmailLogEvent.objects.get(kind="sent").delete()
    found = store.get("m")
    assert found is not None
    assert [entry.report.kind for entry in found.history] == [Kind.QUEUED]


def test_report_that_another_run_has_writes_no_row(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    store.record([report("m")], claim="task-1")
    with CaptureQueriesContext(connection) as captured:
        store.record([report("m")], claim="task-2")
    written = [each["sql"] for each in captured if each["sql"].startswith(("INSERT", "UPDATE"))]
    # On SQLite one that finds no row takes the lock.
    assert len(written) == (1 if connection.vendor == "sqlite" else 0)


def test_connection_of_three_bytes_a_character_loses_nothing(store: DeliveryStore) -> None:
    """MySQL's `utf8`, which was Django's default up to 5.1."""
    options = connection.settings_dict["OPTIONS"]
    is_mysql = connection.vendor == "mysql"
    if is_mysql:
        options["charset"] = "utf8"
        connection.close()
    row_texts._unstorable.cache_clear()
    try:
        given_ = delivery("👋", tenant_id="👋", summary={"subject": "Hello 👋"}, callbacks={"sent": [{"args": ["👋"]}]})
        store.register([given_])
        assert store.get("👋") == given_
        assert EmailLog.objects.get().subject == ("Hello \ufffd" if is_mysql else "Hello 👋")
    finally:
        if is_mysql:
            options["charset"] = "utf8mb4"
            connection.close()
        row_texts._unstorable.cache_clear()


@pytest.mark.parametrize(
    ("one", "other"), [("Abc", "abc"), ("é", "e"), ("m", "m "), ("m", " m"), ("ß", "ss"), ("\\", "\\\\")]
)
def test_ids_that_look_alike_are_two(store: DeliveryStore, one: str, other: str) -> None:
    store.register([delivery(one, account_id="1"), delivery(other, account_id="2")])
    assert store.get(one) == delivery(one, account_id="1")
    assert store.get(other) == delivery(other, account_id="2")


@pytest.mark.parametrize("message_id", ["\x01" * 255, "👋" * 255, "x" * 254 + " ", "\\s" + "0" * 64])
def test_ids_too_long_when_escaped_come_back_whole(store: DeliveryStore, message_id: str) -> None:
    (recorded,) = store.record([report(message_id)], claim="c", how=Recording(adopt=True))
    assert recorded.verdict is Verdict.NEW
    (kept,) = store.register([delivery(message_id)])
    assert store.get(message_id) == kept
    assert kept.message_id == message_id
    store.mark_dispatched([Dispatched(message_id=message_id, key=report(message_id).key, failed=("x",))])
    assert store.failed() == [message_id]


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_=deliveries())
def test_any_delivery_comes_back_as_it_was_given(store: DeliveryStore, given_: Delivery) -> None:
    EmailLog.objects.all().delete()
    # Two entries of one key never stand in one history.
    history = tuple({entry.report.key: entry for entry in given_.history}.values())
    given_ = replace(given_, history=history)
    store.register([given_])
    assert store.get(given_.message_id) == given_
    assert store.register([given_]) == [given_ if given_.is_known else replace(given_, updated_at=given_.updated_at)]


def test_hour_that_comes_twice_is_told_apart_without_time_zones(settings: Any, make_store: MakeStore) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Rome"
    store = make_store()
    first, second = (datetime(2026, 10, 25, hour, 30, 0, 123456, tzinfo=timezone.utc) for hour in (0, 1))
    for message_id, at in (("first", first), ("second", second)):
        told = replace(report(message_id, Kind.DEFERRED), at=at)
        registered = delivery(message_id, created_at=at, updated_at=at)
        store.register([registered])
        assert store.get(message_id) == registered
        assert [a.verdict for a in store.record([told], claim="c")] == [Verdict.NEW]
        assert [a.verdict for a in store.record([told], claim="d")] == [Verdict.HELD]
        found = store.get(message_id)
        assert found is not None
        assert found.history[0].report == told
    shown = [EmailLog.objects.get(message_id=each).created_at for each in ("first", "second")]
    assert [(each.hour, each.minute, each.fold, each.tzinfo) for each in shown] == [(2, 30, 0, None), (2, 30, 1, None)]
    assert store.prune(now=START + timedelta(days=31)) == 2


def test_the_clock_is_that_of_the_database_server(store: DeliveryStore) -> None:
    assert (store.server_time() is None) == (connection.vendor == "sqlite")


# --- what the settings switch off


def test_subject_and_recipients_can_be_left_out(make_store: MakeStore) -> None:
    store = make_store(log_subject=False, log_recipients=False)
    summary = {"subject": "Secret", "recipients": 1, "from": "s@e.com", "to": ["a@e.com"], "priority": 2}
    (kept,) = store.register([delivery("m", summary=summary)])
    assert kept.summary == {"recipients": 1, "priority": 2}
    assert store.get("m") == kept
    raw = {"id": "m@e.com", "error_ts": 1, "error": "<a@e.com> unknown", "more": [{"x": "a@e.com"}]}
    (answer,) = store.record([report("m", Kind.ERROR, reason="<a@e.com> unknown", raw=raw)], claim="c")
    # Who is told now hears everything.
    assert answer.report.reason == "<a@e.com> unknown"
    log, (event,) = rows_of("m")
    assert (log.subject, log.recipients, log.recipient_count) == ("", "", 1)
    assert "a@e.com" not in f"{vars(log)}{vars(event)}"
    assert json.loads(event.raw)["id"] == "m@e.com"


def test_bounce_whose_recipient_is_left_out_is_still_news_once(make_store: MakeStore) -> None:
    store = make_store(log_recipients=False)
    store.register([delivery("m")])
    bounced = report("m", Kind.BOUNCED, recipient="a@e.com", event_id="7f", reason="<a@e.com> unknown")
    (answer,) = store.record([bounced], claim="c")
    assert answer.report.recipient == "a@e.com"
    store.mark_dispatched([Dispatched(message_id="m", key=bounced.key)])
    assert [each.verdict for each in store.record([bounced], claim="d")] == [Verdict.DUPLICATE]
    log, (event,) = rows_of("m")
    assert "a@e.com" not in f"{vars(log)}{vars(event)}"


# --- beginning


def test_worker_completes_the_row_that_the_web_process_began(store: DeliveryStore) -> None:
    entry = LogEntry(
        message_id="m", sender="s@e.com", recipients=["a@e.com"], subject="Hello", tenant_id="t1", content=b"x"
    )
    (row,) = beginning.begin([entry], settings=Settings(log_content=True))
    assert (row.status, row.is_known) == ("new", False)
    summary = {"subject": "Hello", "recipients": 1, "from": "s@e.com", "to": ["a@e.com"], "priority": 2}
    found = store.get("m")
    assert found is not None
    assert (found.is_known, found.summary, found.tenant_id) == (False, summary, "t1")
    registered = delivery("m", tenant_id="t1", summary=summary, created_at=START + timedelta(seconds=5))
    assert store.register([registered]) == [registered]
    assert store.get("m") == registered
    completed = EmailLog.objects.get()
    assert (completed.pk, completed.created_at, completed.is_known) == (row.pk, row.created_at, True)
    assert bytes(completed.content) == b"x"


# --- transactions


def test_a_chunk_costs_as_many_queries_as_one_report(store: DeliveryStore) -> None:
    # Django asks for a content type once a process.
    ContentType.objects.get_for_model(ContentType)
    one, hundred = queries_spent(store, 1), queries_spent(store, 100)
    assert max(one.values()) <= 8
    if connection.features.max_query_params is None:
        assert hundred == one
    else:
        # SQLite takes no more than 999 values at once; it needs no round trip for any.
        assert all(hundred[name] - one[name] <= 4 for name in one)


def queries_spent(store: DeliveryStore, number: int) -> dict[str, int]:
    """What each call costs for so many messages."""
    ids = [new_id() for _ in range(number)]
    entries = [LogEntry(message_id=new_id(), related=[ContentType.objects.first()]) for _ in ids]
    told = [Dispatched(message_id=each, key=sent_entry(each).key) for each in ids]
    calls: dict[str, Callable[[], Any]] = {
        "register": lambda: store.register([delivery(each) for each in ids]),
        "record": lambda: store.record([sent_entry(each) for each in ids], claim="c"),
        "mark": lambda: store.mark_dispatched(told),
        "begin": lambda: beginning.begin(entries, settings=Settings()),
    }
    spent: dict[str, int] = {}
    for name, call in calls.items():
        with CaptureQueriesContext(connection) as captured:
            call()
        spent[name] = len(captured)
    return spent


def isolation_levels() -> list[str | None]:
    return [None] if connection.vendor == "sqlite" else [None, "repeatable read", "serializable"]


@pytest.fixture(params=isolation_levels())
def isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    """A project may have chosen another level for all its transactions."""
    options = connection.settings_dict["OPTIONS"]
    if request.param:
        is_mysql = connection.vendor == "mysql"
        level = request.param if is_mysql else IsolationLevel[request.param.upper().replace(" ", "_")].value
        options["isolation_level"] = level
        connection.close()
    yield
    if request.param:
        del options["isolation_level"]
        connection.close()


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("isolation")
def test_twenty_threads_registering_and_reporting_lose_nothing(make_store: MakeStore) -> None:
    threads = 6 if connection.vendor == "sqlite" else 20
    ids = [new_id() for _ in range(60)]
    told: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        store = make_store()
        own = random.Random(number)
        for _ in range(3):
            chunk = own.sample(ids, 20)
            store.register([delivery(each, account_id=str(number)) for each in chunk])
            own.shuffle(chunk)
            reports = [
                report(each, kind, s)
                for each in chunk
                for s, kind in enumerate((Kind.QUEUED, Kind.DEFERRED, Kind.SENT))
            ]
            news = [a for a in store.record(reports, claim=f"task-{number}-{own.random()}") if a.verdict is Verdict.NEW]
            with lock:
                told.update((a.report.message_id, a.report.key) for a in news)
            store.mark_dispatched([Dispatched(message_id=a.report.message_id, key=a.report.key) for a in news])

    in_threads(threads, work)
    store = make_store()
    kept = {each: store.get(each) for each in ids}
    # With 20 threads no id is left out; with fewer, hardly any.
    registered = [found for found in kept.values() if found is not None]
    assert len(registered) > 50
    for found in registered:
        assert (found.status, found.is_known) == (Status.SENT, True)
        assert [entry.report.kind for entry in found.history] == [Kind.QUEUED, Kind.DEFERRED, Kind.SENT]
        assert all(entry.is_dispatched for entry in found.history)
    assert set(told.values()) == {1}
    assert len(told) == 3 * len(registered)


def test_one_of_many_threads_takes_a_step(make_store: MakeStore) -> None:
    make_store().register([replace(delivery("m"), suspension=Suspension(owner="t", since=START))])
    make_store().record([report("m")], claim="c")
    allowed: list[int] = []

    def work(number: int) -> None:
        if make_store().advance("m", Step.CLAIM, token=str(number)).is_allowed:
            allowed.append(number)

    # EARLY: only one may run it.
    in_threads(8, work)
    assert len(allowed) == 1


def test_a_delivery_is_read_as_it_was_at_one_moment(make_store: MakeStore) -> None:
    store = make_store()
    store.register([delivery("m")])
    has_ended = threading.Event()
    torn: list[Delivery] = []

    def read() -> None:
        while not has_ended.is_set():
            found = store.get("m")
            assert found is not None
            deferred = found.attempts
            if (deferred > 0) != (found.status is Status.DEFERRED) or found.updated_at != START + timedelta(
                seconds=deferred
            ):
                torn.append(found)

    clock = make_store().clock
    assert isinstance(clock, Clock)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for second in range(60):
            clock.advance(1)
            store.record([report("m", Kind.DEFERRED, second)], claim="c")
        has_ended.set()
        reading.result()
    assert torn == []


def test_callers_transaction_takes_the_store_with_it(store: DeliveryStore) -> None:
    with transaction.atomic():
        store.register([delivery("m")])
        assert store.get("m") == delivery("m")
        transaction.set_rollback(True)
    assert store.get("m") is None


def test_callers_transaction_survives_what_the_store_refuses(store: DeliveryStore) -> None:
    with transaction.atomic():
        store.register([delivery("m")])
        with pytest.raises(StoreError):
            store.register([delivery("n", callbacks={"sent": [{"args": [object()]}]})])
        store.register([delivery("o")])
    assert (store.get("m"), store.get("n"), store.get("o")) == (delivery("m"), None, delivery("o"))


def test_outbox_is_in_the_callers_transaction(store: DeliveryStore) -> None:
    entries = [OutboxEntry(task_id=each, content="{}", due_at=START) for each in ("t1", "t2")]
    assert [store.outbox.is_open] == [True]
    with transaction.atomic():
        assert [store.outbox.is_open] == [False]
        store.outbox.put(entries)
        store.outbox.put(entries)
        with ThreadPoolExecutor() as pool:
            # Nobody sees what is not committed yet.
            assert pool.submit(store.outbox.due, now=START, limit=9).result() == []
        transaction.set_rollback(True)
    assert store.outbox.due(now=START, limit=9) == []
    with transaction.atomic():
        store.outbox.put(entries)
    assert len(store.outbox.due(now=START, limit=9)) == 2


def test_outbox_takes_one_query_for_many(store: DeliveryStore) -> None:
    entries = [OutboxEntry(task_id=new_id(), content="x" * 5000, due_at=START) for _ in range(20)]
    with CaptureQueriesContext(connection) as queries, transaction.atomic():
        store.outbox.put(entries)
    assert len([each for each in queries if "INSERT" in each["sql"]]) == 1
    with CaptureQueriesContext(connection) as queries:
        store.outbox.drop([each.task_id for each in entries])
    assert len([each for each in queries if "DELETE" in each["sql"]]) == 1


# --- connections


def test_thread_that_ends_leaves_no_connection(store: DeliveryStore) -> None:
    wrappers: list[Any] = []

    def work() -> None:
        store.get("m")
        wrappers.append(connections["default"])
        assert wrappers[0].connection is not None

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert wrappers[0].connection is None


@needs_server
def test_connection_that_the_server_has_ended_heals_at_the_next_call(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    for call in (lambda: store.get("m"), lambda: store.record([report("m")], claim="c")):
        end_connection()
        assert call()
    assert store.get("m") is not None


@needs_server
def test_connection_lost_inside_the_callers_transaction_is_an_error(store: DeliveryStore) -> None:
    with transaction.atomic():
        store.register([delivery("m")])
        end_connection()
        with pytest.raises(StoreError, match="see that the database is up"):
            store.register([delivery("n")])
        transaction.set_rollback(True)
    assert (store.get("m"), store.get("n")) == (None, None)


def test_forked_process_leaves_its_parents_connection_alone(store: DeliveryStore) -> None:
    store.register([delivery("m")])
    child = os.fork()
    if child == 0:
        try:
            store.record([report("m")], claim="c")
            os._exit(0 if connection.connection is not None else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    # The same connection as before.
    found = store.get("m")
    assert found is not None
    assert found.status is Status.SENT


def test_missing_tables_are_named_with_their_remedy(store: DeliveryStore) -> None:
    with connection.schema_editor() as editor:
        editor.delete_model(EmailLogEvent)
    try:
        with pytest.raises(StoreError, match=r"manage\.py migrate"):
            store.get("m")
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(EmailLogEvent)


def test_error_names_no_address(store: DeliveryStore) -> None:
    error = explain(DatabaseError(1366, "value 'a@e.com'\nDETAIL: Failing row contains (a@e.com)."), "default")
    assert "e.com" not in str(error)
    assert "DatabaseError: 1366 value '<address>'" in str(error)


def end_connection() -> None:
    """The server ends this thread's connection, as it does when it is restarted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT connection_id()")
        (number,) = cursor.fetchone()

    def end() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT pg_terminate_backend(%s)", [number])
            else:
                cursor.execute(f"KILL {number}")
        connection.close()

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()


# --- the rest


def test_kept_content_is_deleted_when_its_mail_has_ended(store: DeliveryStore, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    names = [content.keep(content.new_name(), b"x") for _ in range(2)]
    entries = [LogEntry(message_id=str(number), content_name=name) for number, name in enumerate(names)]
    beginning.begin(entries, settings=Settings())
    store.register([delivery("0"), delivery("1")])
    store.record([report("0", Kind.DEFERRED), report("1", Kind.SENT)], claim="c")
    assert [content.load(name) for name in names] == [b"x", None]
    assert list(EmailLog.objects.order_by("id").values_list("content_name", flat=True)) == [names[0], ""]


def test_kept_content_outlives_a_transaction_that_is_undone(
    store: DeliveryStore, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path)
    name = content.keep(content.new_name(), b"x")
    beginning.begin([LogEntry(message_id="m", content_name=name)], settings=Settings())
    with transaction.atomic():
        store.record([report("m")], claim="c")
        transaction.set_rollback(True)
    assert content.load(name) == b"x"


def test_url_opens_the_store() -> None:
    assert isinstance(open_store("django://", retention=RETENTION), DjangoStore)
    with pytest.raises(ConfigurationError, match="DATABASE_ROUTERS"):
        open_store("django://other", retention=RETENTION)


def test_check_says_which_database(store: DeliveryStore) -> None:
    assert store.check().startswith(f"{connection.display_name} ")
    assert store.check().endswith("Django's database 'default'")


class ToNowhere:
    def db_for_write(self, model: type, **hints: Any) -> str | None:
        return "elsewhere" if model is EmailLog else None


def test_database_is_the_one_that_the_router_writes_to(store: DeliveryStore, settings: Any) -> None:
    settings.DATABASE_ROUTERS = [ToNowhere()]
    with pytest.raises(ConnectionDoesNotExist, match="elsewhere"):
        store.get("m")
