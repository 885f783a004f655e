"""How long the chaos suite says that a recovery took, with made-up ledgers."""

from __future__ import annotations

import pytest

from tests.chaos.evidence import gather
from tests.chaos.load import Item, Mail, Shape
from tests.chaos.recovery import Recovery, recoveries

from .ledgers import Book, a_mail


def second_mail() -> Item:
    return Item(number=2, at=0.0, shape=Shape.SINGLE, mails=(Mail(number=2),), task_id="t2")


def test_what_was_accepted_before_the_end_is_caught_up_and_what_came_after_flows() -> None:
    first, second = a_mail(), second_mail()
    book = Book().fault("store killed", lambda book: book.calling(first).accepted(first))
    ended = book.events[-1]["time"]
    book.calling(second).accepted(second)
    book.submitted(second.mails[0]).queued(second.mails[0]).ended(second.mails[0])
    flowed = next(e["time"] for e in book.events if e["what"] == "handler ended" and e["signal"] == "mail_sent")
    book.submitted(first.mails[0]).queued(first.mails[0]).ended(first.mails[0])
    caught_up = max(e["time"] for e in book.events if e["what"] == "handler ended" and e["signal"] == "mail_sent")
    (found,) = recoveries([first, second], gather(book.events))
    assert (found.kind, found.number) == ("store killed", 1)
    assert found.flows_after == pytest.approx(flowed - ended)
    assert found.caught_up_after == pytest.approx(caught_up - ended)


def test_the_longest_of_a_kind_counts() -> None:
    first, second = a_mail(), second_mail()
    book = Book().calling(first).accepted(first).fault("proxy killed")
    book.note("anything").note("anything").submitted(first.mails[0]).ended(first.mails[0])
    book.calling(second).accepted(second).fault("proxy killed").submitted(second.mails[0]).ended(second.mails[0])
    (found,) = recoveries([first, second], gather(book.events))
    assert found.number == 2
    assert found.caught_up_after == pytest.approx(0.8)


def test_a_fault_with_no_mail_after_it_has_nothing_to_flow() -> None:
    item = a_mail()
    (found,) = recoveries([item], gather(Book().all_of(item).fault("broker killed").events))
    assert found == Recovery(kind="broker killed", number=1, flows_after=None, caught_up_after=0.0)
