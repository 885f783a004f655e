"""`DjangoSuppression`: the suppression list in Django's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ...deliveries.stores.erased_pages import PAGE
from ...deliveries.stores.suppression import SuppressionList
from ...deliveries.suppression import Cause, SuppressedAddress
from .database import writing
from .fields import aware
from .routing import log_alias
from .row_texts import exact, inexact
from .suppressed import SuppressedEmail

__all__ = ["DjangoSuppression"]

# SQLite takes no more than 999 parameters in older builds.
_PER_QUERY = 500


class DjangoSuppression(SuppressionList):
    """The list in the table of `SuppressedEmail`. `run` runs a call as `DjangoStore` runs its own."""

    def __init__(self, run: Callable[[Callable[[], Any]], Any]) -> None:
        self._run = run

    def add(self, entries: Sequence[SuppressedAddress]) -> int:
        number = 0
        for start in range(0, len(entries), _PER_QUERY):
            number += self._run(partial(_insert, entries[start : start + _PER_QUERY]))
        return number

    def find(self, addresses: Sequence[str]) -> list[SuppressedAddress]:
        found: list[SuppressedAddress] = []
        for some in _batches(addresses):
            found += [_entry(row) for row in self._run(partial(list, _all().filter(address__in=some)))]
        return found

    def remove(self, addresses: Sequence[str]) -> int:
        return sum(self._run(_all().filter(address__in=some).delete)[0] for some in _batches(addresses))

    def pages(self) -> Iterator[Sequence[SuppressedAddress]]:
        last = 0
        while rows := self._run(partial(list, _all().filter(pk__gt=last).order_by("pk")[:PAGE])):
            yield [_entry(row) for row in rows]
            last = rows[-1].pk


def _insert(entries: Sequence[SuppressedAddress]) -> int:
    """Write those that are not there; how many."""
    with writing(SuppressedEmail, log_alias()):
        known = set(
            _all().filter(address__in=[exact(each.address) for each in entries]).values_list("address", "cause")
        )
        new: dict[tuple[str, str], SuppressedEmail] = {}
        for each in entries:
            row = SuppressedEmail(
                address=exact(each.address), cause=each.cause.value, at=each.at, message_id=exact(each.message_id or "")
            )
            if (row.address, row.cause) not in known:
                new.setdefault((row.address, row.cause), row)
        # Others may add one at the same moment.
        _all().bulk_create(new.values(), ignore_conflicts=True)
    return len(new)


def _all() -> Any:
    return SuppressedEmail.objects.using(log_alias())


def _batches(addresses: Sequence[str]) -> Iterator[list[str]]:
    written = [exact(each) for each in dict.fromkeys(addresses)]
    return (written[start : start + _PER_QUERY] for start in range(0, len(written), _PER_QUERY))


def _entry(row: SuppressedEmail) -> SuppressedAddress:
    return SuppressedAddress(
        address=inexact(row.address) or row.address,
        cause=Cause(row.cause),
        at=aware(row.at),
        message_id=inexact(row.message_id) or row.message_id or None,
    )
