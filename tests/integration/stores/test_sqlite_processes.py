"""The SQLite store among processes, threads and forks, and on files that are not as they should be."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from celery_mailproxy.deliveries.delivery import Status
from celery_mailproxy.deliveries.recording import Dispatched, Verdict
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention, open_store
from celery_mailproxy.deliveries.stores.sqlite.store import SQLiteStore
from celery_mailproxy.errors import ConfigurationError, StoreError
from tests.contract.store_values import START, delivery, report, sent_entry
from tests.harness.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.integration

# A writer says what it has done only when the store has acknowledged it.
REGISTER = """
import itertools, sys
from celery_mailproxy.deliveries.delivery import Delivery
from celery_mailproxy.deliveries.report import utcnow
from celery_mailproxy.deliveries.stores import Retention, open_store
store = open_store(sys.argv[1], retention=Retention())
for number in itertools.count():
    names = [f"{sys.argv[2]}-{number}-{n}" for n in range(3)]
    store.register([Delivery(message_id=name, created_at=utcnow(), updated_at=utcnow()) for name in names])
    print(*names, flush=True)
"""
RECORD = """
import sys
from celery_mailproxy.deliveries.recording import Dispatched, Verdict
from celery_mailproxy.deliveries.report import parse_entry
from celery_mailproxy.deliveries.stores import Retention, open_store
store = open_store(sys.argv[1], retention=Retention())
sys.stdin.readline()
for start in range(0, 200, 20):
    reports = [parse_entry({"id": f"m-{n}", "sent_ts": 1795324468})[0] for n in range(start, start + 20)]
    new = [r.report for r in store.record(reports, claim=sys.argv[2]) if r.verdict is Verdict.NEW]
    store.mark_dispatched([Dispatched(message_id=r.message_id, key=r.key) for r in new])
    print(*(r.message_id for r in new), flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/folder/deliveries.db?synchronous=normal"


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    # Warnings are errors there too: a connection left open would be one.
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_record_each_report_once(url: str) -> None:
    store = open_store(url, retention=Retention())
    store.register([delivery(f"m-{number}") for number in range(200)])
    processes = [start(RECORD, url, f"task-{number}") for number in range(4)]
    outputs = [process.communicate("go\n", timeout=PATIENCE_SECONDS) for process in processes]
    assert [error for _, error in outputs] == [""] * 4
    assert Counter(" ".join(text for text, _ in outputs).split()) == Counter(f"m-{n}" for n in range(200))
    store.close()


def test_killed_writer_loses_nothing_that_was_acknowledged(url: str) -> None:
    processes = [start(REGISTER, url, f"w{number}") for number in range(3)]
    store = open_store(url, retention=Retention())
    wait_until(lambda: all(store.get(f"w{number}-20-0") for number in range(3)), "what the writers write")
    for process in processes:
        process.send_signal(signal.SIGKILL)
    # A line that the kill cut off was not acknowledged.
    outputs = [[line for line in p.communicate()[0].splitlines(True) if line.endswith("\n")] for p in processes]
    names = " ".join(line for lines in outputs for line in lines).split()
    assert len(names) > 30
    assert [name for name in names if store.get(name) is None] == []
    # Of the call that was killed, all is there or nothing.
    for number, lines in enumerate(outputs):
        assert len({store.get(f"w{number}-{len(lines)}-{n}") is None for n in range(3)}) == 1
    go_on(store)


def go_on(store: DeliveryStore) -> None:
    store.register([delivery("after")])
    assert store.record([report("after")], claim="task-1")[0].verdict is Verdict.NEW
    store.close()


def test_processes_that_open_a_new_file_together(url: str) -> None:
    processes = [start(REGISTER, url, f"w{number}") for number in range(6)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("w")
    for process in processes:
        process.kill()
        assert process.communicate()[1] == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_store_used_before_a_fork_serves_parent_and_child(url: str) -> None:
    store = open_store(url, retention=Retention())
    store.register([delivery("m"), delivery("n")])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if store.record([report("m")], claim="child")[0].verdict is Verdict.NEW:
                gc.collect()
                store.close()
                status = 0
        finally:
            os._exit(status)
    assert store.record([report("n")], claim="parent")[0].verdict is Verdict.NEW
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.record([report("m")], claim="parent")[0].verdict is Verdict.HELD
    go_on(store)


def test_threads_that_end_leave_no_connection_open(url: str) -> None:
    store = open_store(url, retention=Retention())
    for number in range(20):
        thread = threading.Thread(target=store.register, args=([delivery(f"m-{number}")],))
        thread.start()
        thread.join()
    assert isinstance(store, SQLiteStore)
    assert len(store._file._pool._idle) == 1
    del store
    gc.collect()  # An open connection would warn here, and warnings are errors.


def test_close_during_calls_of_other_threads(url: str) -> None:
    store = open_store(url, retention=Retention())
    problems: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(40):
                store.register([delivery(f"{name}-{number}")])
        except BaseException as exc:
            problems.append(exc)

    threads = [threading.Thread(target=work, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        store.close()
        time.sleep(0.002)
    assert problems == []
    assert all(store.get(f"w{number}-39") for number in range(4))
    store.close()


# --- files that are not as they should be


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


def test_file_and_its_log_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLiteStore(tmp_path / "d.db", Retention())
        store.register([delivery("m")])
        assert modes(tmp_path) == {"d.db": "0o600", "d.db-wal": "0o600", "d.db-shm": "0o600"}
        store.close()
    finally:
        os.umask(before)


def test_file_that_others_can_read_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "d.db"
    SQLiteStore(path, Retention()).register([delivery("m")])
    assert caplog.text == ""
    path.chmod(0o664)
    for _ in range(2):
        store = SQLiteStore(path, Retention())
        assert store.get("m") is not None
        assert f"chmod o= {path}*" in store.check()
        store.close()
    assert caplog.text.count(f"chmod o= {path}*") == 1
    # A group may share it on purpose.
    assert modes(tmp_path)["d.db"] == "0o664"
    path.chmod(0o660)
    assert "chmod" not in store.check()
    store.close()


@pytest.mark.parametrize("removed", ["d.db*", "d.db"])
def test_file_that_is_removed_under_way_is_noticed(
    tmp_path: Path, removed: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path}/d.db"
    stores = [open_store(url, retention=Retention()) for _ in range(2)]
    for number, store in enumerate(stores):
        store.register([delivery(f"old-{number}")])
    for path in tmp_path.glob(removed):
        path.unlink()
    for number, store in enumerate(stores):
        assert store.get("old-0") is None
        store.register([delivery(f"new-{number}")])
    assert caplog.text.count("was removed or replaced") == 2
    # Both are on the file that is there, as is whoever opens it later; those that had the old one close it.
    gc.collect()
    assert (tmp_path / "d.db-wal").exists()
    later = open_store(url, retention=Retention())
    for store in (*stores, later):
        assert [found is not None for found in store.get_many(["old-0", "old-1", "new-0", "new-1"])] == [False] * 2 + [
            True
        ] * 2
        store.close()
    assert modes(tmp_path)["d.db"] == "0o600"


def test_file_that_is_replaced_by_a_copy_is_opened(tmp_path: Path) -> None:
    path, copy = tmp_path / "d.db", tmp_path / "copy.db"
    for place, name in ((copy, "of-the-copy"), (path, "of-the-old")):
        store = SQLiteStore(place, Retention())
        store.register([delivery(name)])
        if place is copy:
            store.close()
    for each in tmp_path.glob("d.db*"):
        each.unlink()
    copy.rename(path)
    assert store.get("of-the-copy") is not None
    assert store.get("of-the-old") is None
    store.close()


def test_file_that_is_removed_while_it_is_written_is_a_store_error(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db", Retention())
    store.register([delivery("m")])

    def write_what_is_lost() -> None:
        with store._transaction() as rows:
            (tmp_path / "d.db").unlink()
            rows.save([delivery("lost")])

    with pytest.raises(StoreError, match="was removed while it was written"):
        write_what_is_lost()
    go_on(store)


def test_locked_file_is_a_store_error_in_time(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db", Retention(), timeout_seconds=0.2)
    store.register([delivery("m")])
    other = sqlite3.connect(tmp_path / "d.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"locked by another process for more than 0\.2 s"):
        store.record([report("m")], claim="task-1")
    # Readers do not wait for writers.
    assert store.get("m") == delivery("m")
    other.execute("ROLLBACK")
    other.close()
    go_on(store)


def test_file_of_something_else_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "d.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="is damaged"):
        SQLiteStore(tmp_path / "d.db", Retention()).check()


def test_damaged_file_is_a_store_error(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    store = SQLiteStore(path, Retention())
    store.register([delivery(f"m-{number}") for number in range(200)])
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StoreError, match="is damaged"):
        store.get("m-1")
    store.close()


def test_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="its folder must be writable"):
        SQLiteStore(tmp_path / "file" / "d.db", Retention()).check()


def test_folder_in_place_of_the_file_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        SQLiteStore(tmp_path, Retention()).check()


def test_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "d.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"schema version 99, this release knows up to \d+; upgrade"):
        SQLiteStore(tmp_path / "d.db", Retention()).check()


def test_prune_works_in_batches(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db", Retention(ttl_seconds=0))
    names = [f"m-{number}" for number in range(1300)]
    store.register([delivery(name, status=Status.SENT) for name in names])
    assert [store.prune(now=START) for _ in range(3)] == [1000, 300, 0]
    store.close()


def test_what_is_looked_for_again_and_again_is_found_by_an_index(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "d.db", Retention())
    store.register([delivery("m")])
    store.record([sent_entry("m")], claim="task-1")
    store.mark_dispatched([Dispatched(message_id="m", key=sent_entry("m").key, failed=("x",))])
    assert store.failed() == ["m"]
    store.close()
    connection = sqlite3.connect(tmp_path / "d.db")
    for condition, index in (
        ("has_failed = 1", "deliveries_failed"),
        ("expires_ms <= 5", "deliveries_expires"),
        ("due_ms < 5 ORDER BY due_ms, rowid", "deliveries_due"),
    ):
        plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT rowid FROM deliveries WHERE {condition}").fetchall()
        assert index in str(plan)
    connection.close()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://d.db",
        "sqlite:///d.db?mode=ro",
        "sqlite:///d.db?synchronous=off",
        "sqlite:///d.db?timeout_seconds=long",
        "sqlite:///d.db?timeout_seconds=nan",
    ],
)
def test_url_that_makes_no_sense_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"must be"):
        open_store(url, retention=Retention())


def test_relative_path_is_taken_from_where_the_store_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///sub/d%20x.db", retention=Retention())
    monkeypatch.chdir("/")
    assert store.check().endswith(f"{tmp_path}/sub/d x.db")
    assert (tmp_path / "sub" / "d x.db").exists()
    store.close()
