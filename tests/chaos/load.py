"""The load: which mails are sent when, and how, as a pure function of a seed."""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["Item", "Mail", "Shape", "Side", "make_load", "number_of"]

#: The root of the task ids. Any constant does.
_NAMESPACE = uuid.UUID("a9d8a8cf-9f0b-4bd0-8f2b-9f6b1f1d7e55")

#: One mail in so many is refused by the SMTP server for its content, and ends as `error`.
_ONE_IN_REFUSED = 20

#: One call of Django's in so many kills its caller.
_ONE_IN_KILLED = 20

_BEHIND_AT = "@example.com"


class Side(str, Enum):
    """Which application sends it: one with Celery alone, and one with Django."""

    PLAIN = "plain"
    DJANGO = "django"


class Shape(str, Enum):
    """How mails are handed over."""

    SINGLE = "send_via_proxy"
    MANY = "send_many_via_proxy"
    CHAIN = "chain"
    CHORD = "chord"
    CAMPAIGN = "campaign"
    DJANGO = "Django's send_mail"
    DJANGO_MANY = "Django's send_messages"

    @property
    def side(self) -> Side:
        return Side.DJANGO if self in (Shape.DJANGO, Shape.DJANGO_MANY) else Side.PLAIN

    @property
    def has_callbacks(self) -> bool:
        """Whether each mail has `on_sent` and `on_error`."""
        return self in (Shape.SINGLE, Shape.MANY, Shape.DJANGO, Shape.DJANGO_MANY)

    @property
    def has_body(self) -> bool:
        """Whether a chord's body ends it."""
        return self in (Shape.CHORD, Shape.CAMPAIGN)


#: shape → how many mails one has, and how many of a hundred mails go so.
_SHAPES = {
    Shape.SINGLE: (1, 30),
    Shape.MANY: (8, 16),
    Shape.CHAIN: (1, 14),
    Shape.CHORD: (4, 12),
    Shape.CAMPAIGN: (6, 12),
    Shape.DJANGO: (1, 10),
    Shape.DJANGO_MANY: (3, 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail to an address of its own, by which the SMTP server's side is counted."""

    number: int
    is_refused: bool = False

    @property
    def address(self) -> str:
        # See `MailSink`: what begins with `spam` is refused after its content.
        return f"{'spam' if self.is_refused else 'mail'}{self.number}{_BEHIND_AT}"

    @property
    def ends_as(self) -> str:
        return "error" if self.is_refused else "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One call of the application's, `at` so many seconds after the beginning."""

    number: int
    at: float
    shape: Shape
    mails: tuple[Mail, ...]
    #: Of the call's task, or of its chain's or chord's first mail.
    task_id: str
    #: The caller is killed between the commit of its transaction and the publication.
    kills_caller: bool = False


def make_load(seed: int, *, mails: int, seconds: float, shapes: Sequence[Shape] = tuple(Shape)) -> tuple[Item, ...]:
    """Items with so many mails together (up to seven more), evenly over the time, in its order."""
    dice = random.Random(f"load {seed}")
    # One per shape first: a small load has each of them, too.
    drawn = list(shapes)
    dice.shuffle(drawn)
    weights = [_SHAPES[shape][1] / _SHAPES[shape][0] for shape in shapes]
    while sum(_SHAPES[shape][0] for shape in drawn) < mails:
        drawn += dice.choices(shapes, weights)
    items: list[Item] = []
    number = 0
    for index, shape in enumerate(drawn):
        size = _SHAPES[shape][0]
        items.append(
            Item(
                number=index,
                at=round(seconds * index / len(drawn), 3),
                shape=shape,
                mails=tuple(_mail(dice, shape, number + offset) for offset in range(size)),
                task_id=str(uuid.uuid5(_NAMESPACE, f"{seed}/{index}")),
                kills_caller=shape.side is Side.DJANGO and dice.randrange(_ONE_IN_KILLED) == 0,
            )
        )
        number += size
    return tuple(items)


def _mail(dice: random.Random, shape: Shape, number: int) -> Mail:
    # A chain goes on only after what was sent.
    is_refused = dice.randrange(_ONE_IN_REFUSED) == 0 and shape is not Shape.CHAIN
    return Mail(number=number, is_refused=is_refused)


def number_of(address: str) -> int | None:
    """The number of the mail to that address; None for an address that is none of ours."""
    local, at, _ = address.partition("@")
    digits = local.removeprefix("mail").removeprefix("spam")
    return int(digits) if at and digits.isdigit() else None
