"""Values that arrive whole, whichever Python folds them."""

from __future__ import annotations

import pytest

from celery_mailproxy.mail import headers as folding
from tests.unit.mail.folded import SUBJECTS, folded_here


@pytest.mark.parametrize("subject", SUBJECTS)
def test_subject_arrives_whole(subject: str) -> None:
    worded = folding.foldable_text("Subject", subject)
    assert worded is not None
    assert worded.strip(" ") == subject
    assert folding.read_text(folded_here("Subject", worded)) == subject
    assert folding.read_text(folding.fold_text("Subject", subject) or "") == subject


def test_short_and_ascii_values_are_left_alone() -> None:
    assert folding.foldable_text("Subject", "Chère maman") == "Chère maman"
    assert folding.foldable_text("X-A", "word " * 50 + "end") == "word " * 50 + "end"


def test_comma_at_the_end_of_a_full_line_stays_a_comma() -> None:
    people = ["Müller <u0@example.com>", *(f"uuuuuuuuu{index}@example.com" for index in range(6))]
    for padding in range(30):
        values = [f"{'x' * padding} {people[0]}".strip(), *people[1:]]
        worded = folding.foldable_addresses("To", values)
        assert worded is not None
        expected = folding.read_addresses(", ".join(values))
        assert len(expected) == len(values)
        assert folding.read_addresses(folded_here("To", worded)) == expected
        inside = folding.fold_addresses("To", values)
        assert inside is not None
        assert folding.read_addresses(inside) == expected
