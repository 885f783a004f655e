"""What the store keeps beside deliveries: values that operators set, counters, and the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from django.db import models

from .database import writing
from .fields import ExactCharField, MomentField

__all__ = ["MailCount", "OperatorValue", "OutboxMessage", "add_counts"]

_LENGTH = 255


class OperatorValue(models.Model):
    """A short text that operators have set for every process; see `DeliveryStore.set_value`."""

    name = ExactCharField(max_length=_LENGTH, unique=True)
    value = models.TextField()

    objects: ClassVar[models.Manager[OperatorValue]] = models.Manager()

    def __str__(self) -> str:
        return self.name


class MailCount(models.Model):
    """What has been counted in ten minutes; `span` is their beginning in unix seconds. See `DeliveryStore.count`."""

    span = models.BigIntegerField()
    name = ExactCharField(max_length=100)
    number = models.BigIntegerField()

    objects: ClassVar[models.Manager[MailCount]] = models.Manager()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["span", "name"], name="mailproxy_count_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.number})"


def add_counts(numbers: Mapping[str, int], span: int, alias: str) -> None:
    """Add to what has been counted in the ten minutes that begin with `span`."""
    with writing(MailCount, alias):
        rows = MailCount.objects.using(alias).filter(span=span)
        # In one order, or two processes would wait for each other.
        for name, number in sorted(numbers.items()):
            if not rows.filter(name=name).update(number=models.F("number") + number):
                # Where another has begun the row meanwhile, the whole is tried again.
                rows.create(span=span, name=name, number=number)


class OutboxMessage(models.Model):
    """A task's message, until the proxy has its mails; see `deliveries.stores.outbox`. `content` is ASCII."""

    task_id = ExactCharField(max_length=_LENGTH, unique=True)
    content = models.TextField()
    due_at = MomentField(db_index=True)
    copies = models.PositiveIntegerField(default=0)
    #: The number of the copy that has the turn.
    begun = models.PositiveIntegerField(null=True)

    objects: ClassVar[models.Manager[OutboxMessage]] = models.Manager()

    def __str__(self) -> str:
        return self.task_id
