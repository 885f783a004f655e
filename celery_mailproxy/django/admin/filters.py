"""The filters of the admin's list. None of them asks the database for the distinct values of a column.

Those for the value of a column only note it: `narrowing` asks for all of them together.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django.contrib.admin import ListFilter
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _

from ..log.models import EmailLogTag
from ..log.row_texts import exact
from .narrowing import choose

__all__ = [
    "PERIODS",
    "AccountFilter",
    "FailedFilter",
    "PeriodFilter",
    "StatusFilter",
    "TagFilter",
    "TenantFilter",
    "known_values",
    "period_begin",
]

#: How many values of a column are offered as links; where there are more, a text field takes one.
CHOICES_LIMIT = 20

#: period → how long it is, and its name.
PERIODS: dict[str, tuple[timedelta, Any]] = {
    "24h": (timedelta(hours=24), _("Last 24 hours")),
    "7d": (timedelta(days=7), _("Last 7 days")),
    "30d": (timedelta(days=30), _("Last 30 days")),
}


def period_begin(period: str) -> datetime:
    """When the period began. Cut to the minute, so that the pages of one list begin at one time."""
    return (timezone.now() - PERIODS[period][0]).replace(second=0, microsecond=0)


def known_values(queryset: QuerySet[Any], field_name: str, *, limit: int) -> list[str] | None:
    """The values of an indexed column in order, without the empty one; None where there are more than `limit`.

    Each costs one look into the index, however many rows have it.
    """
    values: list[str] = []
    rows = queryset.order_by(field_name).values_list(field_name, flat=True)
    while len(values) <= limit:
        found = rows.filter(**{f"{field_name}__gt": values[-1] if values else ""}).first()
        if found is None:
            return values
        values.append(found)
    return None


class _ParametersFilter(ListFilter):
    """A filter that owns some parameters of the query string."""

    parameters: ClassVar[tuple[str, ...]] = ()
    changelist: Any = None

    def __init__(self, request: Any, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.model_admin = model_admin
        for name in self.parameters:
            if name in params:
                value = params.pop(name)
                # Lists from Django 5.0 on.
                self.used_parameters[name] = value[-1] if isinstance(value, list) else value

    def value(self, name: str) -> str:
        return str(self.used_parameters.get(name, "")).strip()

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def _own_query(self, changelist: Any, **values: str) -> str:
        query: str = changelist.get_query_string(values, remove=list(self.parameters))
        return query

    def _hidden_inputs(self, changelist: Any) -> list[tuple[str, str]]:
        """What a form of this filter must send along, so that the other filters stay as they are."""
        others = {name: value for name, value in changelist.params.items() if name not in self.parameters}
        return sorted((name, value[-1] if isinstance(value, list) else value) for name, value in others.items())


class PeriodFilter(_ParametersFilter):
    """By time of creation: a period that ends now, or from one day to another."""

    title = _("date")
    template = "celery_mailproxy/admin/period_filter.html"
    parameters = ("since", "created_from", "created_to")

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if (period := self.value("since")) in PERIODS:
            queryset = queryset.filter(created_at__gte=period_begin(period))
        if first := self._day("created_from"):
            queryset = queryset.filter(created_at__gte=_midnight(first))
        if last := self._day("created_to"):
            queryset = queryset.filter(created_at__lt=_midnight(last + timedelta(days=1)))
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = self.value("since")
        is_range = bool(self._day("created_from") or self._day("created_to"))
        yield {
            "selected": chosen not in PERIODS and not is_range,
            "query_string": self._own_query(changelist),
            "display": _("Any date"),
            "form": {
                "from": self.value("created_from") if self._day("created_from") else "",
                "to": self.value("created_to") if self._day("created_to") else "",
                "hidden": self._hidden_inputs(changelist),
            },
        }
        for period, (_length, name) in PERIODS.items():
            yield {
                "selected": chosen == period,
                "query_string": self._own_query(changelist, since=period),
                "display": name,
            }

    def _day(self, name: str) -> date | None:
        try:
            day = parse_date(self.value(name))
        except ValueError:
            return None
        # The first and the last years that there are cannot be brought to another time zone.
        return day if day and 1900 <= day.year < 9999 else None


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


class StatusFilter(_ParametersFilter):
    """By status, with the parameter that Django's own filter has."""

    title = _("status")
    parameters = ("status__exact",)

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if value := self.value("status__exact"):
            choose(request, "status", value)
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = self.value("status__exact")
        yield {"selected": not chosen, "query_string": self._own_query(changelist), "display": _("All")}
        for value, label in changelist.model.Status.choices:
            query = self._own_query(changelist, status__exact=value)
            yield {"selected": value == chosen, "query_string": query, "display": label}


class _ValueFilter(_ParametersFilter):
    """By an indexed column of text: its values as links where they are few, else a text field."""

    template = "celery_mailproxy/admin/value_filter.html"
    field_name: ClassVar[str]

    def __init__(self, request: Any, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.values = self.known(model)

    def known(self, model: Any) -> list[str] | None:
        """See `known_values`."""
        return known_values(model._default_manager.all(), self.field_name, limit=CHOICES_LIMIT)

    def has_output(self) -> bool:
        # One value divides nothing.
        return self.values is None or len(self.values) > 1 or bool(self.value(self.field_name))

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if value := self.value(self.field_name):
            choose(request, self.field_name, value)
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = self.value(self.field_name)
        yield {"selected": not chosen, "query_string": self._own_query(changelist), "display": _("All")}
        if self.values is None:
            hidden = self._hidden_inputs(changelist)
            yield {"form": {"name": self.field_name, "value": chosen, "hidden": hidden}}
            return
        for value in self.values:
            query = self._own_query(changelist, **{self.field_name: value})
            yield {"selected": value == chosen, "query_string": query, "display": value}


class TenantFilter(_ValueFilter):
    title = _("tenant")
    parameters = ("tenant_id",)
    field_name = "tenant_id"


class AccountFilter(_ValueFilter):
    title = _("account")
    parameters = ("account_id",)
    field_name = "account_id"


class TagFilter(_ValueFilter):
    title = _("tag")
    parameters = ("tag",)
    field_name = "tag"

    def known(self, model: Any) -> list[str] | None:
        return known_values(EmailLogTag.objects.all(), self.field_name, limit=CHOICES_LIMIT)

    def has_output(self) -> bool:
        # Many mails have none: also one value divides them.
        return self.values != []

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if value := self.value(self.field_name):
            choose(request, "tag_rows__tag", exact(value))
        return queryset


class FailedFilter(_ParametersFilter):
    """Mails with handlers that failed. The others cannot be chosen: they are nearly all, and no index gives them."""

    title = _("failed handlers")
    parameters = ("has_failed",)

    def queryset(self, request: Any, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value("has_failed"):
            choose(request, "has_failed", True)
        return queryset

    def choices(self, changelist: Any) -> Iterator[Any]:
        chosen = bool(self.value("has_failed"))
        yield {"selected": not chosen, "query_string": self._own_query(changelist), "display": _("All")}
        yield {
            "selected": chosen,
            "query_string": self._own_query(changelist, has_failed="1"),
            "display": _("With failed handlers"),
        }
