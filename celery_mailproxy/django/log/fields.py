"""Columns that hold the same on every database: ids that are compared byte by byte, and times without doubt."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.timezone import get_default_timezone, is_naive

__all__ = ["ExactCharField", "MomentField", "ShownTextField", "aware"]


class ExactCharField(models.CharField):  # type: ignore[type-arg]
    """A `CharField` whose values differ as soon as one character does.

    MySQL and MariaDB take `a` for `A` and `e` for `é` by default: two messages would be one.
    """

    def db_parameters(self, connection: Any) -> Any:
        return _with_collation(super().db_parameters(connection), connection, "utf8mb4_bin")


class ShownTextField(models.TextField):  # type: ignore[type-arg]
    """A `TextField` for people, searched without regard to case. It takes every character on MySQL and MariaDB, too."""

    def db_parameters(self, connection: Any) -> Any:
        return _with_collation(super().db_parameters(connection), connection, "utf8mb4_unicode_ci")


class MomentField(models.DateTimeField):  # type: ignore[type-arg]
    """A `DateTimeField` that is exact in a project without `USE_TZ`, too.

    There Django keeps local time, of which an hour each autumn comes twice: a lease or the key of a report would be
    an hour wrong. This field keeps UTC, and gives local time with `fold` as Python has it; see `aware`.
    """

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if settings.USE_TZ or not isinstance(value, datetime):
            return super().get_db_prep_value(value, connection, prepared)
        moment = aware(value)
        # PostgreSQL stores a point in time, the others the digits as written.
        is_kept_as_moment = connection.vendor == "postgresql"
        return connection.ops.adapt_datetimefield_value(moment if is_kept_as_moment else moment.replace(tzinfo=None))

    def select_format(self, compiler: Any, sql: str, params: Any) -> Any:
        if not settings.USE_TZ and compiler.connection.vendor == "postgresql":
            # Its own local time would come without telling which of two equal hours it is in.
            sql = f"({sql}) AT TIME ZONE 'UTC'"
        return sql, params

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if settings.USE_TZ or value is None:
            return value
        return value.replace(tzinfo=timezone.utc).astimezone(get_default_timezone()).replace(tzinfo=None)


def aware(value: datetime) -> datetime:
    """The moment that a `MomentField` holds, as an aware time in UTC."""
    moment = value.replace(tzinfo=get_default_timezone()) if is_naive(value) else value
    return moment.astimezone(timezone.utc)


def _with_collation(parameters: Any, connection: Any, collation: str) -> Any:
    return {**parameters, "collation": collation} if connection.vendor == "mysql" else parameters
