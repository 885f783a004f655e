"""`audit`: what the store remembers, and what the proxies have, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..deliveries.delivery import Delivery, Status
from ..deliveries.report import utcnow
from ..deliveries.waiting import awaited_since
from ..errors import ConfigurationError, ProxyRequestError, ProxyUnavailable
from ..proxy.held import HeldMessage, HeldState
from ..proxy.nested_mail import is_spare, spare_id
from ..runtime import Runtime

__all__ = ["Audit", "audit"]

#: So many ids are named of each kind.
_NAMED = 20

#: How many ids are looked for in the store at once.
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The emails of the application since a moment, as counts, and the ids of some that do not add up.

    `accepted` have a delivery; each of them is among `ended` (by status) or `open`, and `overdue` of these have been
    open for too long. `at_proxy` is what the proxies list of their tenants' messages, by its state there, whoever
    submitted it. `unknown_there` are open here and not listed, `unknown_here` are listed and have no delivery.
    `unanswered` says which proxies could not be asked, and why.
    """

    since: datetime
    accepted: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    open: int = 0
    overdue: int = 0
    at_proxy: Mapping[str, int] = field(default_factory=dict)
    unknown_here: int = 0
    unknown_there: int = 0
    some_overdue: tuple[str, ...] = ()
    some_unknown_here: tuple[str, ...] = ()
    some_unknown_there: tuple[str, ...] = ()
    unanswered: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_accounted_for(self) -> bool:
        """Whether every email has come to its end, or is still under way."""
        return not (self.overdue or self.unknown_here or self.unknown_there or self.unanswered)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "since": self.since.isoformat(),
            "accepted": self.accepted,
            "ended": dict(self.ended),
            "open": self.open,
            "overdue": self.overdue,
            "at_proxy": dict(self.at_proxy),
            "unknown_here": self.unknown_here,
            "unknown_there": self.unknown_there,
            "some_overdue": list(self.some_overdue),
            "some_unknown_here": list(self.some_unknown_here),
            "some_unknown_there": list(self.some_unknown_there),
            "unanswered": dict(self.unanswered),
            "is_accounted_for": self.is_accounted_for,
        }


def audit(runtime: Runtime, *, since: datetime) -> Audit:
    """Read the whole store, and each proxy's list. Raises `StoreError`."""
    now = utcnow()
    known = {each.message_id: each for each in _accepted(runtime, since)}
    open_ones = {message_id: each for message_id, each in known.items() if not each.is_ended}
    overdue = sorted(message_id for message_id, each in open_ones.items() if _is_overdue(runtime, each, now))
    # After the store: what is submitted meanwhile is looked for in it once more.
    listed, unanswered = _listed(runtime, _places(runtime, open_ones.values()))
    rows = [each for listing in listed.values() for each in listing]
    # A spare is no mail, but the one that it is for is there, too.
    spares = {each.message_id for each in rows if is_spare(each.message_id)}
    held = {each.message_id: each for each in rows if each.message_id not in spares}
    seen = held.keys() | spares
    missing = [
        message_id
        for message_id, each in open_ones.items()
        if awaited_since(each)
        and (each.server, each.tenant_id) in listed
        and not {message_id, spare_id(message_id)} & seen
    ]
    unknown_there = sorted(each.message_id for each in _read(runtime, missing) if awaited_since(each))
    strangers = [each for each in held if each not in known]
    found = {each.message_id for each in _read(runtime, strangers)}
    unknown_here = sorted(each for each in strangers if each not in found)
    return Audit(
        since=since,
        accepted=len(known),
        ended=dict(Counter(each.status.value for each in known.values() if each.is_ended)),
        open=len(open_ones),
        overdue=len(overdue),
        at_proxy={state.value: sum(each.state is state for each in held.values()) for state in HeldState},
        unknown_here=len(unknown_here),
        unknown_there=len(unknown_there),
        some_overdue=tuple(overdue[:_NAMED]),
        some_unknown_here=tuple(unknown_here[:_NAMED]),
        some_unknown_there=tuple(unknown_there[:_NAMED]),
        unanswered=unanswered,
    )


def _accepted(runtime: Runtime, since: datetime) -> Iterator[Delivery]:
    """The application's own mails since then; a parent is none, its members are."""
    for page in runtime.store.pages():
        yield from (each for each in page if each.is_known and not each.members and each.created_at >= since)


def _is_overdue(runtime: Runtime, delivery: Delivery, now: datetime) -> bool:
    if delivery.status is Status.NEW:
        # The proxy has not confirmed that it has it.
        return delivery.updated_at + timedelta(seconds=runtime.retention.overdue_seconds) <= now
    overdue_at = runtime.retention.overdue_at(delivery)
    return overdue_at is not None and overdue_at <= now


def _places(runtime: Runtime, deliveries: Iterable[Delivery]) -> set[tuple[str, str | None]]:
    """The tenants to ask for: those of the settings, and of the mails that are open."""
    settings = runtime.settings
    names = [name for name in settings.server_names() if settings.has_url(name)]
    own = {(name, settings.server(name).tenant) for name in names}
    return own | {(each.server, each.tenant_id) for each in deliveries if awaited_since(each)}


def _listed(
    runtime: Runtime, places: set[tuple[str, str | None]]
) -> tuple[dict[tuple[str, str | None], list[HeldMessage]], dict[str, str]]:
    """What each proxy lists of each tenant, and why where it does not."""
    listed: dict[tuple[str, str | None], list[HeldMessage]] = {}
    unanswered: dict[str, str] = {}
    for server, tenant_id in sorted(places, key=str):
        if not tenant_id:
            continue
        try:
            rows = runtime.client(server).messages(tenant_id)
            listed[server, tenant_id] = [HeldMessage.of(row) for row in rows]
        except (ProxyUnavailable, ProxyRequestError, ConfigurationError) as exc:
            unanswered[f"{server}/{tenant_id}"] = str(exc)
    return listed, unanswered


def _read(runtime: Runtime, message_ids: Sequence[str]) -> Iterator[Delivery]:
    for start in range(0, len(message_ids), _PAGE):
        found = runtime.store.get_many(message_ids[start : start + _PAGE])
        yield from (each for each in found if each is not None)
