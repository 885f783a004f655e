from __future__ import annotations

from email import policy
from email.message import EmailMessage

import pytest

from celery_mailproxy.mail import headers as folding

#: Each is damaged by one Python or another when it is folded as it is.
SUBJECTS = [
    "日本語のテスト мир é Übersicht 日本 日本",
    "die B подтвердите in der naïve и Größe",
    "Über Über Über Über aaaaaaa Über aaaa Über",
    "ééééééééééééééééééé-  日bbж<",
]


def folded_here(name: str, value: str) -> str:
    """What this Python's `email` package makes of a header."""
    message = EmailMessage(policy=policy.SMTP)
    message[name] = value
    return message.as_bytes().decode("ascii").partition(":")[2].removesuffix("\r\n\r\n").removesuffix("\r\n")


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


def test_folding_foresees_what_this_python_does() -> None:
    for subject in SUBJECTS:
        expected = folded_here("Subject", subject).replace("\r\n", "\n").rstrip()
        assert expected in [value.rstrip() for value in folding._folded("Subject", subject)]
