"""Filters chosen together: read by the index of the rarest, and no farther back than a search reads.

There is an index for each filter alone. Of two that would do, a database may well take the one that half of the table
fits, and an index for each combination would have to be written with every mail.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from .paging import AtLeast, capped_count

__all__ = ["choices_of", "choose", "choosing", "narrowed"]

_NEWEST_FIRST = ("-created_at", "-id")


def choose(request: HttpRequest, column: str, value: Any) -> None:
    """Note that a filter of this request asks for the mails whose column has the value."""
    request.__dict__.setdefault("_mailproxy_choices", {})[column] = value


def choices_of(request: HttpRequest) -> Mapping[str, Any]:
    """What the filters of this request have noted."""
    choices: Mapping[str, Any] = request.__dict__.get("_mailproxy_choices", {})
    return choices


def choosing(queryset: QuerySet[Any], choices: Mapping[str, Any]) -> QuerySet[Any]:
    """The mails that have these values."""
    # Not `=`: of that Django makes for a boolean a condition for which SQLite uses no index.
    return queryset.filter(**{f"{column}__in": [value] for column, value in choices.items()})


def narrowed(
    queryset: QuerySet[Any], choices: Mapping[str, Any], *, limit: int
) -> tuple[QuerySet[Any], datetime | None]:
    """Those of the mails that have these values, of the newest `limit` that have the rarest of them.

    And since when those are, or None where it is all of them.
    """
    alone = {column: choosing(queryset, {column: value}) for column, value in choices.items()}
    counts = {column: capped_count(each, limit=limit) for column, each in alone.items()}
    rarest = min(counts, key=counts.__getitem__, default=None)
    if rarest is None:
        alone, rarest = {"": queryset}, ""
    elif not isinstance(counts[rarest], AtLeast):
        return _with_others(alone[rarest], choices, rarest), None
    # With as many as can be counted of each: the one that leads farthest back.
    ends = {column: end for column, each in alone.items() if (end := _end(each, limit))}
    if not ends:
        return _with_others(alone[rarest], choices, rarest), None
    rarest = min(ends, key=ends.__getitem__)
    return _with_others(alone[rarest].filter(created_at__gt=ends[rarest]), choices, rarest), ends[rarest]


def _end(queryset: QuerySet[Any], limit: int) -> datetime | None:
    """The time of the newest mail that is beyond the limit."""
    return queryset.order_by(*_NEWEST_FIRST).values_list("created_at", flat=True)[limit:][:1].first()


def _with_others(queryset: QuerySet[Any], choices: Mapping[str, Any], rarest: str) -> QuerySet[Any]:
    """Those that have the other values, too: asked for in a way that no index answers."""
    others = {column: value for column, value in choices.items() if column != rarest}
    kinds = {column: Value(False if value is True else "") for column, value in others.items()}
    queryset = queryset.alias(**{f"any_{column}": Coalesce(column, kind) for column, kind in kinds.items()})
    return choosing(queryset, {f"any_{column}": value for column, value in others.items()})
