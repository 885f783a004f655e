"""The plan and the load of the chaos suite: the same seed gives the same, and every kind has its turn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.chaos.load import Shape, make_load, number_of
from tests.chaos.plan import FaultKind, make_plan

SEEDS = range(20)


def test_a_seed_always_gives_the_same_plan_and_another_one_another() -> None:
    assert make_plan(1, seconds=100) == make_plan(1, seconds=100)
    assert make_plan(1, seconds=100) != make_plan(2, seconds=100)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_has_one_fault_at_a_time(seed: int) -> None:
    plan = make_plan(seed, seconds=300)
    for target in {fault.kind.target for fault in plan}:
        mine = [fault for fault in plan if fault.kind.target == target]
        assert all(before.until <= after.at for before, after in pairwise(mine))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_happens_about_as_often_as_any_other(seed: int) -> None:
    counts = Counter(fault.kind for fault in make_plan(seed, seconds=300))
    assert counts.keys() == set(FaultKind)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_only_the_kinds_asked_for_happen() -> None:
    kinds = (FaultKind.POOL_KILLED, FaultKind.STORE_SLOW)
    assert {fault.kind for fault in make_plan(1, seconds=100, kinds=kinds)} == set(kinds)


def test_the_faults_are_over_with_the_load() -> None:
    plan = make_plan(1, seconds=60)
    assert [fault.number for fault in plan] == list(range(len(plan)))
    assert all(before.at <= after.at for before, after in pairwise(plan))
    assert max(fault.until for fault in plan) <= 60


def test_a_seed_always_gives_the_same_load_and_another_one_another() -> None:
    assert make_load(1, mails=100, seconds=10) == make_load(1, mails=100, seconds=10)
    assert make_load(1, mails=100, seconds=10) != make_load(2, mails=100, seconds=10)


@pytest.mark.parametrize("mails", [30, 100, 2000])
def test_a_load_has_the_mails_asked_for_in_every_shape_with_numbers_in_a_row(mails: int) -> None:
    items = make_load(5, mails=mails, seconds=10)
    numbers = [mail.number for item in items for mail in item.mails]
    assert numbers == list(range(len(numbers)))
    assert mails <= len(numbers) < mails + 8
    assert {item.shape for item in items} == set(Shape)
    assert len({item.task_id for item in items}) == len(items)
    assert all(0 <= item.at < 10 for item in items)


def test_some_mails_are_refused_but_none_of_a_chain() -> None:
    items = make_load(5, mails=2000, seconds=10)
    refused = [item.shape for item in items for mail in item.mails if mail.is_refused]
    assert 50 < len(refused) < 150
    assert Shape.CHAIN not in refused


def test_an_address_tells_the_number_of_its_mail() -> None:
    mails = [mail for item in make_load(5, mails=100, seconds=10) for mail in item.mails]
    assert [number_of(mail.address) for mail in mails] == [mail.number for mail in mails]
    assert number_of("somebody@example.com") is None
