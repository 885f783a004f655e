"""Mails as bounce mailboxes hold them, written after the public forms of servers, and what each has to be read as."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from celery_mailproxy.bounces.finding import candidates
from celery_mailproxy.bounces.parsing import read_mail

#: The VERP addresses in it are of this form.
TEMPLATE = "bounces+{id}@shop.example"

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, order=True)
class Verdict:
    """What is said of one recipient: in which mail's name, and how."""

    message_id: str | None
    kind: str
    recipient: str | None
    bounce_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """A mail of the corpus; no verdicts where it is neither a bounce nor a complaint."""

    name: str
    source: bytes
    expected: tuple[Verdict, ...]


def specimens() -> Iterator[Specimen]:
    """All of them, by name."""
    expected = json.loads((_FOLDER / "expected.json").read_text())
    for name, verdicts in sorted(expected.items()):
        wanted = tuple(Verdict(each["id"], each["kind"], each["recipient"], each["type"]) for each in verdicts)
        yield Specimen(name=name, source=(_FOLDER / f"{name}.eml").read_bytes(), expected=wanted)


def our_ids() -> frozenset[str]:
    """The message ids of all mails that the corpus has notices of, and of no others."""
    return frozenset(each.message_id for one in specimens() for each in one.expected if each.message_id)


def verdicts_on(source: bytes, ids: frozenset[str]) -> tuple[Verdict, ...]:
    """What the package makes of a mail, where the messages of these ids are ours."""
    reading = read_mail(source)
    if reading is None:
        return ()
    message_id = next((each for each in candidates(reading.clues, TEMPLATE) if each in ids), None)
    return tuple(
        Verdict(message_id, notice.kind.value, notice.recipient, notice.bounce_type) for notice in reading.notices
    )


def is_wrong(found: tuple[Verdict, ...], expected: tuple[Verdict, ...]) -> bool:
    """Whether it says what is not so; to know nothing is not wrong."""
    wanted = {each.recipient: each for each in expected}
    for each in found:
        target = wanted.get(each.recipient) or next(iter(expected), None)
        if target is None or each.kind != target.kind or each.message_id not in (None, target.message_id):
            return True
        if each.bounce_type not in (None, target.bounce_type):
            return True
    return False
