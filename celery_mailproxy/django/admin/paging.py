"""Paging through a list of any length at a cost that does not grow with it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.paginator import Paginator
from django.utils.formats import number_format

__all__ = ["COUNT_LIMIT", "AtLeast", "CappedPaginator", "capped_count"]

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    _Paginator = Paginator

#: How far anything is counted, and paged.
COUNT_LIMIT = 10_000


class AtLeast(int):
    """A number that counting stopped at: as text it ends in a plus."""

    def __str__(self) -> str:
        if settings.USE_THOUSAND_SEPARATOR:
            # Django's templates then group the digits themselves, and take the plus for one.
            return int.__repr__(self)
        return f"{number_format(int(self), force_grouping=True)}+"


def capped_count(queryset: Any, *, limit: int) -> int:
    """The number of rows, or `AtLeast(limit)` where there are more."""
    count: int = queryset.order_by()[: limit + 1].count()
    return AtLeast(limit) if count > limit else count


class CappedPaginator(_Paginator):
    """Pages through the first `COUNT_LIMIT` rows: a farther one would cost as much as it is far."""

    @cached_property
    def count(self) -> int:
        return capped_count(self.object_list, limit=COUNT_LIMIT)

    @property
    def is_capped(self) -> bool:
        return isinstance(self.count, AtLeast)
