"""Every form of bounce that the corpus holds is read, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celery_mailproxy.bounces import plain_notices
from tests.unit.bounces.corpus import Specimen, Verdict, is_wrong, our_ids, specimens, verdicts_on

ALL = list(specimens())
IDS = our_ids()


@pytest.fixture(params=["with flufl.bounce", "without flufl.bounce"])
def detector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    plain_notices.detector.cache_clear()
    if request.param.startswith("without"):
        monkeypatch.setitem(__import__("sys").modules, "flufl.bounce", None)
    yield request.param
    plain_notices.detector.cache_clear()


def test_corpus_is_large_enough() -> None:
    assert sum(bool(each.expected) for each in ALL) >= 60
    assert sum(not each.expected for each in ALL) >= 25


def test_at_least_98_percent_are_right_and_none_is_wrong(detector: str) -> None:
    found = {each.name: verdicts_on(each.source, IDS) for each in ALL}
    assert [each.name for each in ALL if is_wrong(found[each.name], each.expected)] == []
    right = [each.name for each in ALL if each.expected and found[each.name] == each.expected]
    assert len(right) >= 0.98 * sum(bool(each.expected) for each in ALL)


@pytest.mark.parametrize("specimen", ALL, ids=lambda each: each.name)
def test_specimen_is_read_as_expected(specimen: Specimen) -> None:
    assert verdicts_on(specimen.source, IDS) == specimen.expected


@pytest.mark.parametrize("specimen", [each for each in ALL if not each.expected], ids=lambda each: each.name)
def test_what_is_no_bounce_is_none_without_the_detectors(specimen: Specimen, detector: str) -> None:
    assert verdicts_on(specimen.source, IDS) == ()


def test_claim_of_another_mail_or_of_the_other_hardness_is_wrong() -> None:
    expected = (Verdict("m", "bounced", "a@x.example", "hard"),)
    assert not is_wrong(expected, expected)
    assert not is_wrong((Verdict(None, "bounced", "a@x.example", None),), expected)
    assert is_wrong((Verdict("other", "bounced", "a@x.example", "hard"),), expected)
    assert is_wrong((Verdict("m", "bounced", "a@x.example", "soft"),), expected)
    assert is_wrong(expected, ())
