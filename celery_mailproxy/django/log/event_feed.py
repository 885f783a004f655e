"""`EventFeed`: the events of the log as they are written, for somebody who watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from django.db.models import QuerySet

from ...deliveries.report import Kind
from .fields import aware
from .models import EmailLogEvent
from .routing import log_alias
from .row_texts import exact

__all__ = ["EventFeed"]

#: So many rows are read at once.
_CHUNK = 500

#: How long a transaction may take that has drawn its events' ids before others, and is committed after them.
_LATE_SECONDS = 60.0

#: The proxy's clock and ours may differ, and its times are whole seconds.
_CLOCK_SLACK = timedelta(minutes=5)


class EventFeed:
    """Gives each event once, oldest first. `tenant_id` leaves the other tenants' out.

    Of events of one second `queued` comes first: a report may have overtaken the answer to the submission, and the
    proxy's times are whole seconds. What is written later is given later, whatever its time. It follows
    the rows' ids, so that a large log is not searched.
    """

    def __init__(self, *, tenant_id: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._tenant_id = tenant_id
        self._clock = clock
        self._floor = 0
        #: id → when it was given, of those above the floor.
        self._given: dict[int, float] = {}

    def newest(self, number: int) -> list[EmailLogEvent]:
        """The newest events, as a beginning; later ones come by `following`."""
        last = self._begin()
        return _in_order(self._rows().filter(pk__lte=last).order_by("-pk")[:number])

    def since(self, moment: datetime) -> list[EmailLogEvent]:
        """The events from that moment on, as a beginning; later ones come by `following`."""
        last = self._begin()
        return _in_order(event for event in self._backwards(last, moment - _CLOCK_SLACK) if aware(event.at) >= moment)

    def following(self) -> Iterator[EmailLogEvent]:
        """What has been written since the last call."""
        now = self._clock()
        # The ids first: most of them have been given, and a row is wide.
        ids = self._events().filter(pk__gt=self._floor).order_by("pk").values_list("pk", flat=True)
        new = [pk for pk in ids if pk not in self._given]
        for start in range(0, len(new), _CHUNK):
            yield from _in_order(self._rows().filter(pk__in=new[start : start + _CHUNK]))
            self._given |= dict.fromkeys(new[start : start + _CHUNK], now)
        self._raise_floor(now)

    def _begin(self) -> int:
        """Take everything that is there now for given, and return its last id."""
        ids = list(self._events().order_by("-pk").values_list("pk", flat=True)[:_CHUNK])
        # Below the last of them one may still be written that was begun before.
        self._given = dict.fromkeys(ids, self._clock())
        self._floor = ids[-1] if len(ids) == _CHUNK else 0
        return ids[0] if ids else 0

    def _backwards(self, last: int, moment: datetime) -> Iterator[EmailLogEvent]:
        """Events, newest first, until a whole chunk of them is older than the moment: ids follow time, more or less."""
        rows = self._rows().order_by("-pk")
        chunk = list(rows.filter(pk__lte=last)[:_CHUNK])
        while chunk:
            yield from chunk
            if all(aware(event.at) < moment for event in chunk):
                return
            chunk = list(rows.filter(pk__lt=chunk[-1].pk)[:_CHUNK])

    def _raise_floor(self, now: float) -> None:
        settled = [pk for pk, given in self._given.items() if now - given > _LATE_SECONDS]
        if settled:
            self._floor = max(settled)
            self._given = {pk: given for pk, given in self._given.items() if pk > self._floor}

    def _events(self) -> QuerySet[EmailLogEvent]:
        return EmailLogEvent.objects.using(log_alias())

    def _rows(self) -> QuerySet[EmailLogEvent]:
        rows: QuerySet[EmailLogEvent] = self._events().select_related("log").defer("log__content", "raw")
        return rows if self._tenant_id is None else rows.filter(log__tenant_id=exact(self._tenant_id))


def _in_order(events: Iterable[EmailLogEvent]) -> list[EmailLogEvent]:
    return sorted(
        events, key=lambda event: (aware(event.at).replace(microsecond=0), event.kind != Kind.QUEUED.value, event.pk)
    )
