"""The contract of an outbox, held by every store; `tests/django/log/test_store.py` holds Django's to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_mailproxy.deliveries.stores import DeliveryStore
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.deliveries.stores.outbox import Outbox, OutboxEntry, Turn
from tests.harness.waiting import PATIENCE_SECONDS

from .store_values import RETENTION, START, MakeStore, ids


def entry(task_id: str, second: float = 0, content: str = "content", copies: int = 0) -> OutboxEntry:
    return OutboxEntry(task_id=task_id, content=content, due_at=at(second), copies=copies)


def at(second: float) -> datetime:
    # To the millisecond, as SQLite keeps it.
    return START.replace(microsecond=123000) + timedelta(seconds=second)


def due(outbox: Outbox, second: float, limit: int = 100) -> list[str]:
    return [each.task_id for each in outbox.due(now=at(second), limit=limit)]


@pytest.fixture
def outbox(store: DeliveryStore) -> Outbox:
    return store.outbox


def test_what_is_put_is_due_at_its_moment_for_all_who_share_the_store(make_store: MakeStore) -> None:
    one, other = make_store().outbox, make_store().outbox
    assert due(one, 1000) == []
    text = '{"n":"a \\u00e4 \\n"}\n[1,2]'
    one.put([entry("t2", 20), entry("t1", 10, text), entry("t3", 30)])
    assert due(other, 9) == []
    assert other.due(now=at(10), limit=5) == [entry("t1", 10, text)]
    assert due(other, 30) == ["t1", "t2", "t3"]
    assert due(other, 30, limit=2) == ["t1", "t2"]
    assert [other.overdue(now=at(second)) for second in (9, 10, 25)] == [0, 1, 2]


def test_the_first_of_a_task_is_kept(outbox: Outbox) -> None:
    outbox.put([entry("t1", 10, "first")])
    outbox.put([entry("t1", 5, "second"), entry("t2", 0)])
    assert due(outbox, 7) == ["t2"]
    assert [each.content for each in outbox.due(now=at(10), limit=9)] == ["content", "first"]


def test_the_entry_of_a_task_is_found_until_it_is_dropped(outbox: Outbox) -> None:
    outbox.put([entry("t1", 10, "first"), entry("t2", 0)])
    found = outbox.find("t1")
    assert found == entry("t1", 10, "first")
    outbox.drop(["t1"])
    assert outbox.find("t1") is None
    assert outbox.find("nobody") is None


def test_nothing_put_or_dropped_is_nothing(outbox: Outbox) -> None:
    outbox.put([])
    outbox.drop([])
    outbox.reschedule([], due_at=at(0))
    assert due(outbox, 1000) == []


def test_what_is_dropped_is_gone_and_may_come_again(outbox: Outbox) -> None:
    outbox.put([entry("t1"), entry("t2"), entry("t3")])
    outbox.begin("t1", 0, due_at=at(0))
    outbox.drop(["t1", "t3", "unknown"])
    assert due(outbox, 1000) == ["t2"]
    assert outbox.overdue(now=at(1000)) == 1
    outbox.put([entry("t1")])
    # Whoever had begun with the first of that id has not begun with this one.
    assert outbox.begin("t1", 3, due_at=at(5)) is Turn.MINE


def test_what_is_not_there_stays_so(outbox: Outbox) -> None:
    assert outbox.republish(entry("t1"), due_at=at(0)) is None
    outbox.reschedule([entry("t1")], due_at=at(0))
    assert outbox.begin("t1", 0, due_at=at(0)) is Turn.GONE
    assert due(outbox, 1000) == []
    assert outbox.overdue(now=at(1000)) == 0


def test_the_first_copy_that_begins_has_the_turn_through_its_retries(outbox: Outbox) -> None:
    outbox.put([entry("t1", 10)])
    assert outbox.begin("t1", 1, due_at=at(100)) is Turn.MINE
    assert due(outbox, 99) == []
    assert outbox.begin("t1", 0, due_at=at(50)) is Turn.OTHERS
    assert outbox.begin("t1", 1, due_at=at(200)) is Turn.MINE
    assert due(outbox, 199) == []
    assert due(outbox, 200) == ["t1"]


def test_after_another_copy_whoever_begins_first_has_the_turn(outbox: Outbox) -> None:
    outbox.put([entry("t1", 10)])
    outbox.begin("t1", 0, due_at=at(20))
    noted = outbox.republish(entry("t1", 20), due_at=at(30))
    assert outbox.due(now=at(29), limit=9) == []
    (kept,) = outbox.due(now=at(30), limit=9)
    assert (kept.copies, kept.content) == (1, "content")
    assert noted == kept
    assert outbox.begin("t1", 1, due_at=at(40)) is Turn.MINE
    assert outbox.begin("t1", 0, due_at=at(40)) is Turn.OTHERS


@pytest.mark.parametrize("copy", [0, 1])
def test_what_a_run_has_begun_since_it_was_read_is_neither_republished_nor_moved(outbox: Outbox, copy: int) -> None:
    outbox.put([entry("t1", 10)])
    (read,) = outbox.due(now=at(10), limit=9)
    outbox.begin("t1", copy, due_at=at(50))
    assert outbox.republish(read, due_at=at(30)) is None
    outbox.reschedule([read], due_at=at(0))
    assert due(outbox, 49) == []
    (kept,) = outbox.due(now=at(50), limit=9)
    assert kept.copies == 0
    # It has the turn still.
    assert outbox.begin("t1", 1 - copy, due_at=at(60)) is Turn.OTHERS
    assert outbox.begin("t1", copy, due_at=at(60)) is Turn.MINE


def test_of_two_who_have_read_it_one_publishes_it(make_store: MakeStore) -> None:
    one, other = make_store().outbox, make_store().outbox
    one.put([entry("t1", 10)])
    (read,) = one.due(now=at(10), limit=9)
    noted = one.republish(read, due_at=at(30))
    assert noted is not None
    assert other.republish(read, due_at=at(31)) is None
    # The broker did not take it: it is due again, and the number of that copy is not used a second time.
    one.reschedule([noted], due_at=at(12))
    (again,) = other.due(now=at(12), limit=9)
    assert again.copies == 1
    assert other.republish(again, due_at=at(40)) == entry("t1", 40, copies=2)
    assert due(one, 39) == []


def test_many_moments_can_be_changed_at_once(outbox: Outbox) -> None:
    entries = [entry(f"t{number}", 100 + number) for number in range(250)]
    outbox.put(entries)
    outbox.begin("t7", 0, due_at=at(500))
    outbox.reschedule(entries, due_at=at(1))
    assert len(due(outbox, 1, limit=300)) == 249


def test_a_moment_can_be_changed(outbox: Outbox) -> None:
    outbox.put([entry("t1", 100), entry("t2", 100), entry("t3", 100)])
    outbox.begin("t1", 0, due_at=at(100))
    outbox.reschedule([entry("t1", 100), entry("t2", 100)], due_at=at(1))
    assert sorted(due(outbox, 1)) == ["t1", "t2"]
    # Nothing else is changed by it.
    assert outbox.begin("t1", 1, due_at=at(5)) is Turn.OTHERS


def test_more_than_one_page_is_due(outbox: Outbox) -> None:
    outbox.put([entry(f"t{number}", number) for number in range(250)])
    assert len(due(outbox, 1000, limit=240)) == 240
    outbox.drop([f"t{number}" for number in range(0, 250, 2)])
    assert due(outbox, 1000, limit=3) == ["t1", "t3", "t5"]


@given(ids, st.text(alphabet=st.characters(min_codepoint=10, max_codepoint=126), max_size=40))
def test_any_id_and_any_ascii_text_are_kept(task_id: str, content: str) -> None:
    outbox = MemoryStore(RETENTION).outbox
    outbox.put([entry(task_id, 0, content)])
    assert outbox.due(now=at(0), limit=1) == [entry(task_id, 0, content)]


@pytest.mark.parametrize("task_id", ["a\nb", "ü" * 200, "}x{", "\ud800", "a b\0"])
def test_odd_ids_are_their_own(outbox: Outbox, task_id: str) -> None:
    outbox.put([entry(task_id), entry("other")])
    assert outbox.begin(task_id, 0, due_at=at(0)) is Turn.MINE
    assert set(due(outbox, 0)) == {task_id, "other"}
    assert outbox.republish(entry(task_id, 0), due_at=at(0)) == entry(task_id, 0, copies=1)
    outbox.drop([task_id])
    assert due(outbox, 0) == ["other"]


def test_of_many_who_begin_at_once_one_has_the_turn(make_store: MakeStore) -> None:
    make_store().outbox.put([entry("t1")])
    turns: list[Turn] = []
    start = threading.Barrier(4)

    def begin(number: int) -> Callable[[], None]:
        outbox = make_store().outbox

        def run() -> None:
            start.wait(PATIENCE_SECONDS)
            turns.append(outbox.begin("t1", number, due_at=at(9)))

        return run

    threads = [threading.Thread(target=begin(number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert sorted(turns) == [Turn.MINE, Turn.OTHERS, Turn.OTHERS, Turn.OTHERS]
