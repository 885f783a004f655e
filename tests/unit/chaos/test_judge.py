"""The judge of the chaos suite, with made-up ledgers: every broken promise is found, and no kept one is blamed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.judge import judge
from tests.chaos.load import Item, make_load
from tests.chaos.verdict import Rule, Verdict

from .ledgers import WORKER, Book, a_campaign, a_chain, a_mail

OTHER = WORKER + 1

ITEMS: dict[str, Callable[[], Item]] = {
    "a mail": a_mail,
    "a refused mail": lambda: a_mail(is_refused=True),
    "a chain": a_chain,
    "a campaign": a_campaign,
}


def rules_of(item: Item, book: Book) -> list[Rule]:
    return [finding.rule for finding in verdict_of(item, book).findings]


def verdict_of(item: Item, book: Book) -> Verdict:
    return judge([item], book.events)


@pytest.mark.parametrize("make", ITEMS.values(), ids=ITEMS)
def test_nothing_is_found_where_all_went_well(make: Callable[[], Item]) -> None:
    item = make()
    ends = {f"m{mail.number}": mail.ends_as for mail in item.mails}
    verdict = verdict_of(item, Book().all_of(item).statuses(**ends))
    assert verdict.findings == ()
    assert verdict.is_kept
    assert verdict.counts["mails accepted"] == len(item.mails)


def test_nothing_is_awaited_of_a_call_that_was_not_made() -> None:
    assert rules_of(a_campaign(), Book()) == []


def test_a_call_that_raised_may_have_sent_nothing() -> None:
    item = a_mail()
    verdict = verdict_of(item, Book().calling(item).note("refused", item=1, problem="down"))
    assert verdict.findings == ()
    assert verdict.counts["mails refused, or whose caller was killed"] == 1


def test_a_mail_of_a_call_that_raised_is_to_end_once_it_has_been_submitted() -> None:
    item = a_mail()
    book = Book().calling(item).note("refused", item=1, problem="down").submitted(item.mails[0])
    assert Rule.LOST in rules_of(item, book)
    assert Rule.SIGNAL_LOST in rules_of(item, book)


@pytest.mark.parametrize("is_refused", [False, True])
def test_an_accepted_mail_that_was_never_submitted_is_lost(is_refused: bool) -> None:
    item = a_mail(is_refused=is_refused)
    verdict = verdict_of(item, Book().calling(item).accepted(item))
    assert [finding.rule for finding in verdict.awaited] == [Rule.LOST]
    assert not verdict.is_kept


def test_a_mail_that_was_submitted_and_not_taken_is_lost() -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).without("arrived")) == [Rule.LOST]


def test_a_mail_that_the_proxy_gave_up_for_reasons_of_its_own_is_an_exception() -> None:
    item, refused = a_mail(), a_mail(is_refused=True)
    assert rules_of(item, Book().all_of(refused)) == [Rule.PROXY_LOST]


def test_a_mail_that_was_submitted_twice_and_came_twice_is_doubled_by_us() -> None:
    item = a_mail()
    book = Book().all_of(item).submitted(item.mails[0]).note("arrived", number=1)
    assert rules_of(item, book) == [Rule.DOUBLED]


def test_a_mail_that_came_twice_while_the_proxy_was_killed_is_doubled_by_the_proxy() -> None:
    item = a_mail()
    book = Book().all_of(item).submitted(item.mails[0]).fault("proxy killed").note("arrived", number=1)
    assert rules_of(item, book) == [Rule.PROXY_DOUBLED]


def test_a_mail_of_which_the_proxy_has_answered_one_submission_is_doubled_by_the_proxy() -> None:
    item = a_mail()
    verdict = verdict_of(item, Book().all_of(item).note("arrived", number=1))
    assert [finding.rule for finding in verdict.findings] == [Rule.PROXY_DOUBLED]
    assert "submissions answered 1" in verdict.findings[0].text
    assert verdict.is_kept


def test_a_mail_that_was_submitted_under_two_ids_is_doubled_by_us_whatever_was_killed() -> None:
    item = a_mail()
    book = Book().all_of(item).submitted(item.mails[0], id_="another").fault("proxy killed").note("arrived", number=1)
    assert Rule.DOUBLED in rules_of(item, book)


def test_a_proxy_killed_after_the_second_copy_has_not_doubled_it() -> None:
    item = a_mail()
    book = Book().all_of(item).submitted(item.mails[0]).note("arrived", number=1).fault("proxy killed")
    assert rules_of(item, book) == [Rule.DOUBLED]


@pytest.mark.parametrize("signal", ["mail_queued", "mail_sent", "delivery_reported"])
def test_a_signal_that_was_not_dispatched_is_found(signal: str) -> None:
    item = a_mail()
    book = Book().all_of(item).without("handler begun", signal=signal).without("handler ended", signal=signal)
    assert rules_of(item, book) == [Rule.SIGNAL_LOST]


def test_a_signal_whose_handler_was_cut_short_for_good_is_lost() -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).without("handler ended", signal="mail_sent")) == [Rule.SIGNAL_LOST]


def test_a_signal_dispatched_twice_is_found() -> None:
    item = a_mail()
    book = Book().all_of(item).told(item.mails[0], pid=OTHER)
    assert rules_of(item, book) == [Rule.SIGNAL_TWICE, Rule.SIGNAL_TWICE]


def test_two_ends_of_one_mail_are_one_too_many_whatever_their_times() -> None:
    item = a_mail()
    book = Book().all_of(item).handled(item.mails[0], "mail_sent", "sent:8")
    assert rules_of(item, book) == [Rule.SIGNAL_TWICE]


def test_a_mail_may_be_deferred_several_times() -> None:
    item = a_mail()
    book = Book()
    for key in ("deferred:5", "deferred:6"):
        book.handled(item.mails[0], "mail_deferred", key).handled(item.mails[0], "delivery_reported", key)
    assert rules_of(item, book.all_of(item)) == []


def test_a_worker_killed_inside_a_handler_excuses_the_second_run() -> None:
    item = a_mail()
    book = Book().all_of(item).without("marked").without("handler begun").without("handler ended")
    book.queued(item.mails[0]).handled(item.mails[0], "mail_sent", "sent:7", pid=OTHER, is_cut=True).killed(OTHER)
    verdict = verdict_of(item, book.told(item.mails[0]))
    assert [finding.rule for finding in verdict.findings] == [Rule.DIED_WITHIN]
    assert verdict.is_kept


def test_a_worker_killed_between_the_handlers_and_the_mark_excuses_both_runs() -> None:
    item = a_mail()
    book = Book().all_of(item).without("marked", key="sent:7").killed(WORKER).told(item.mails[0], pid=OTHER)
    assert rules_of(item, book) == [Rule.DIED_WITHIN, Rule.DIED_WITHIN]


@pytest.mark.parametrize("what", ["marked", "not marked"])
def test_a_worker_killed_after_the_mark_or_its_failure_excuses_nothing(what: str) -> None:
    item = a_mail()
    book = Book().all_of(item).without("marked", key="sent:7").marked(item.mails[0], "sent:7", what=what)
    book.killed(WORKER).told(item.mails[0], pid=OTHER)
    assert rules_of(item, book) == [Rule.SIGNAL_TWICE, Rule.SIGNAL_TWICE]


def test_a_worker_killed_while_it_did_something_else_excuses_nothing() -> None:
    item = a_mail()
    book = Book().all_of(item).without("marked", key="sent:7")
    book.ran("followed", 99, pid=WORKER).killed(WORKER).told(item.mails[0], pid=OTHER)
    assert rules_of(item, book) == [Rule.SIGNAL_TWICE, Rule.SIGNAL_TWICE]


def test_the_pool_of_a_killed_worker_counts_as_killed() -> None:
    item = a_mail()
    book = Book().note("process", pid=WORKER, parent=77).all_of(item).without("marked", key="sent:7")
    assert rules_of(item, book.killed(77).told(item.mails[0], pid=OTHER)) == [Rule.DIED_WITHIN, Rule.DIED_WITHIN]


def test_a_callback_that_did_not_run_is_found() -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).without("run ended")) == [Rule.CALLBACK_LOST]


def test_a_callback_published_twice_is_found() -> None:
    item = a_mail()
    book = Book().all_of(item).called_back(item.mails[0])
    assert rules_of(item, book) == [Rule.CALLBACK_TWICE]


def test_a_callback_published_as_two_tasks_is_found() -> None:
    item = a_mail()
    book = Book().all_of(item).called_back(item.mails[0], task_id="another")
    assert rules_of(item, book) == [Rule.CALLBACK_TWICE]


def test_a_callback_that_was_published_once_and_ran_twice_was_given_out_again() -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).ran("on_sent", 1)) == [Rule.RUN_AGAIN]


def test_the_callback_of_the_other_outcome_is_one_too_many() -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).ran("on_error", 1)) == [Rule.CALLBACK_TWICE]


def test_a_chain_that_did_not_go_on_is_stuck() -> None:
    item = a_chain()
    assert rules_of(item, Book().all_of(item).without("run begun")) == [Rule.CHAIN_STUCK]


def test_a_chain_whose_mail_the_proxy_gave_up_is_not_stuck() -> None:
    item, refused = a_chain(), a_mail(is_refused=True)
    book = Book().calling(item).accepted(item).submitted(refused.mails[0]).queued(refused.mails[0])
    assert rules_of(item, book.ended(refused.mails[0])) == [Rule.PROXY_LOST]


def test_a_chord_without_its_body_is_stuck() -> None:
    item = a_campaign()
    assert rules_of(item, Book().all_of(item).without("run begun")) == [Rule.CHORD_STUCK]


def test_a_chord_that_was_not_accepted_need_not_end() -> None:
    item = a_campaign()
    book = Book().all_of(item).without("accepted").without("run begun").without("run ended")
    assert rules_of(item, book) == []


def test_a_chord_whose_body_was_published_twice_has_ended_twice() -> None:
    item = a_campaign()
    book = Book().all_of(item)
    for pid in (WORKER, OTHER):
        book.published("summarised-1", name="summarised", number=1, pid=pid)
    assert rules_of(item, book) == [Rule.CHORD_TWICE]


def test_a_body_that_got_another_outcome_than_the_mails_is_found() -> None:
    item = a_campaign()
    book = Book().all_of(item).without("run begun").without("run ended").summarised(item, m1="error")
    assert rules_of(item, book) == [Rule.CHORD_WRONG]


# -------------------------------------------------------------------- what Redis loses


CONTINUATIONS = [
    ("on_sent", a_mail, Rule.CALLBACK_LOST),
    ("followed", a_chain, Rule.CHAIN_STUCK),
    ("summarised", a_campaign, Rule.CHORD_STUCK),
]


@pytest.mark.parametrize(("name", "make", "rule"), CONTINUATIONS)
def test_a_task_of_the_application_that_only_redis_had_is_an_exception(
    name: str, make: Callable[[], Item], rule: Rule
) -> None:
    item = make()
    book = Book().all_of(item).without("run begun", name=name).without("run ended", name=name)
    unpublished = list(book.without("published", name=name).events)
    assert [each.rule for each in judge([item], unpublished, broker="redis").findings] == [rule], "it is ours to lose"
    book.published(f"{name}-1", name=name, number=1)
    assert [each.rule for each in judge([item], book.events, broker="redis").findings] == [Rule.BROKER_LOST]
    assert rules_of(item, book) == [rule], "RabbitMQ loses nothing"


def test_a_chain_whose_first_task_only_redis_had_is_an_exception() -> None:
    item = a_chain()
    book = Book().calling(item).accepted(item)
    assert [each.rule for each in judge([item], book.events, broker="redis").findings] == [Rule.BROKER_LOST]
    assert rules_of(item, book) == [Rule.LOST, Rule.CHAIN_STUCK]
    book.ran("rendered", 1)
    assert Rule.LOST in [each.rule for each in judge([item], book.events, broker="redis").findings], "its mail is ours"


@pytest.mark.parametrize("make", [a_mail, a_campaign])
def test_a_mail_of_ours_is_lost_whatever_the_broker(make: Callable[[], Item]) -> None:
    item = make()
    verdict = judge([item], Book().calling(item).accepted(item).events, broker="redis")
    assert Rule.LOST in [each.rule for each in verdict.findings]


@pytest.mark.parametrize(
    ("status", "rule"), [(None, Rule.NOT_ENDED), ("queued", Rule.NOT_ENDED), ("error", Rule.ENDED_WRONG)]
)
def test_a_delivery_that_has_not_ended_as_its_mail_is_found(status: str | None, rule: Rule) -> None:
    item = a_mail()
    assert rules_of(item, Book().all_of(item).statuses(m1=status)) == [rule]


def test_a_whole_load_is_judged() -> None:
    items = make_load(3, mails=100, seconds=10.0)
    book = Book()
    for item in items:
        book.all_of(item)
    assert judge(items, book.events).findings == ()
    lost = book.without("arrived", number=items[0].mails[0].number)
    assert len(judge(items, lost.events).findings) == (items[0].mails[0].ends_as == "sent")
