"""How many mails of each status there have been lately: the numbers on top of the admin's list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import QuerySet
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from ...deliveries.delivery import Status
from .filters import period_begin
from .paging import COUNT_LIMIT, AtLeast

__all__ = ["StatusCount", "count_by_status"]

#: The periods that are counted, and their short names.
_COUNTED = {"24h": _("24 hours"), "7d": _("7 days")}


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """The mails of one status; `counts` are (period's name, how many, the query string that lists them)."""

    status: str
    label: str
    counts: tuple[tuple[Any, int, str], ...]


def count_by_status(queryset: QuerySet[Any], *, labels: Mapping[str, str]) -> list[StatusCount]:
    """A count for each status and period, each up to `COUNT_LIMIT`: short ranges of one index, in one query."""
    begins = {period: period_begin(period) for period in _COUNTED}
    places = [(status.value, period) for status in Status for period in _COUNTED]
    counts = dict(
        zip(
            places,
            _count_each([queryset.filter(status=each, created_at__gte=begins[period]) for each, period in places]),
            strict=True,
        )
    )
    return [
        StatusCount(
            status=status.value,
            label=labels[status.value],
            counts=tuple((name, counts[status.value, p], _link(status, p)) for p, name in _COUNTED.items()),
        )
        for status in Status
    ]


def _count_each(querysets: list[QuerySet[Any]]) -> list[int]:
    connection = connections[querysets[0].db]
    parts: list[str] = []
    parameters: list[Any] = []
    for index, queryset in enumerate(querysets):
        rows = queryset.order_by().values("pk")[: COUNT_LIMIT + 1]
        sql, values = rows.query.get_compiler(connection=connection).as_sql()
        # Django's own SQL.
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) counted_{index})")  # noqa: S608  # nosec B608
        parameters += values
    with connection.cursor() as cursor:
        # The ORM has no way to say this, and has written each part of it.
        cursor.execute(f"SELECT {', '.join(parts)}", parameters)
        counts = cursor.fetchone()
    return [AtLeast(COUNT_LIMIT) if count > COUNT_LIMIT else count for count in counts]


def _link(status: Status, period: str) -> str:
    return "?" + urlencode({"status__exact": status.value, "since": period})
