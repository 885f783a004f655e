"""`Checkup`: one run of `check`, link after link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from celery import Celery

from ...conf.settings import ServerSettings, Settings
from ...deliveries.report import utcnow
from ...errors import MailProxyError
from ...runtime import forget_runtime, get_runtime
from ..terminal import Terminal, plain
from .app_links import (
    check_application,
    check_broker,
    check_queues,
    check_settings,
    check_store,
    check_waiting,
    check_workers,
    secrets_of,
)
from .callback_links import CallbackProbe
from .clock_links import check_clock
from .links import Link, Outcome, failed, guarded, hide_secrets, skipped
from .maintenance_links import check_maintenance
from .proxy_links import ProxyProbe
from .round_trip import NAME as ROUND_TRIP
from .round_trip import round_trip

__all__ = ["Checkup", "Request"]

#: For a connection to the broker, and for the workers' answers to each of two questions.
_BROKER_SECONDS = 5.0
_WORKER_SECONDS = 1.0

#: Without these a mail would not leave; without the others its way is the best test of all.
_NEEDED_FOR_MAIL = frozenset({"settings", "broker", "store", "proxy", "API", "token", "tenant", "account"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of the command; None stands for what the settings say."""

    server: str | None = None
    tenant_id: str | None = None
    account_id: str | None = None
    from_email: str | None = None
    callback_url: str | None = None
    timeout_seconds: float = 60.0


class Checkup:
    """Tests an application's links. `found` is what has been found so far."""

    def __init__(self, app: Celery, request: Request) -> None:
        # Built anew: the application may have read its settings while it was not yet complete.
        forget_runtime(app)
        self.app = app
        self.request = request
        self._runtime = get_runtime(app)
        self._is_readable = False
        self._secrets: set[str] = set()
        self.found: list[Link] = []

    def links(self) -> Iterator[Link]:
        """Every link but the round trip, as it is found."""
        yield self._note(guarded("application", partial(check_application, self.app)))
        yield self._note(self._settings_link())
        yield self._note(guarded("broker", partial(check_broker, self.app, timeout_seconds=_BROKER_SECONDS)))
        if not self._is_readable:
            for name in ("workers", "store", "maintenance", "proxy"):
                yield self._note(skipped(name, "needs the settings"))
            return
        yield self._note(self._workers_link())
        if not self._has_failed("broker") and (queues := self._queues_link()) is not None:
            yield self._note(queues)
        yield self._note(guarded("store", partial(check_store, self._runtime)))
        if not self._has_failed("store"):
            yield self._note(guarded("clock", partial(check_clock, self._runtime)))
        yield self._note(self._maintenance_link())
        for name in self._server_names():
            yield from (self._note(replace(link, server=name)) for link in self._server_links(name))

    def round_trips(self, address: str, terminal: Terminal | None = None) -> Iterator[Link]:
        """A mail through each proxy, followed to its end; a terminal shows its reports as they come."""
        for name in self._server_names():
            yield self._note(replace(self._round_trip_link(name, address, terminal), server=name))

    @property
    def _settings(self) -> Settings:
        return self._runtime.settings

    def _settings_link(self) -> Link:
        try:
            self._secrets |= secrets_of(self.app, self._settings)
            self._is_readable = True
            return check_settings(self._settings)
        except MailProxyError as exc:
            return failed("settings", plain(str(exc)))

    def _workers_link(self) -> Link:
        if self._has_failed("broker"):
            return skipped("workers", "needs the broker")
        check = partial(check_workers, self.app, self._settings, timeout_seconds=_WORKER_SECONDS)
        return guarded("workers", check)

    def _queues_link(self) -> Link | None:
        try:
            return check_queues(self.app, timeout_seconds=_BROKER_SECONDS)
        except Exception as exc:
            return failed("queues", plain(f"{type(exc).__name__}: {exc}"))

    def _maintenance_link(self) -> Link:
        if self._has_failed("store"):
            return skipped("maintenance", "needs the store")
        return guarded("maintenance", partial(check_maintenance, self._runtime, now=utcnow()))

    def _server_names(self) -> Sequence[str]:
        return [self.request.server] if self.request.server else self._settings.server_names()

    def _server(self, name: str) -> ServerSettings:
        server = self._settings.server(name)
        return replace(
            server, tenant=self.request.tenant_id or server.tenant, account=self.request.account_id or server.account
        )

    def _server_links(self, name: str) -> Iterator[Link]:
        try:
            server = self._server(name)
            probe = ProxyProbe(server, heals=self._settings.heal)
        except MailProxyError as exc:
            yield failed("proxy", plain(str(exc)))
            return
        if self._has_failed("store"):
            yield skipped("mails", "needs the store")
        else:
            yield guarded("mails", partial(check_waiting, self._runtime, name))
        with probe:
            yield from probe.links()
            tenant = probe.tenant
        callback = CallbackProbe(self._settings, tenant, server.tenant, url=self.request.callback_url)
        self._secrets |= callback.secrets
        yield from callback.links()

    def _round_trip_link(self, name: str, address: str, terminal: Terminal | None) -> Link:
        broken = [
            link.name
            for link in self.found
            if link.outcome is Outcome.FAILED and link.name in _NEEDED_FOR_MAIL and link.server in (None, name)
        ]
        if broken:
            return skipped(ROUND_TRIP, f"needs the {' and the '.join(broken)}")
        send = partial(
            round_trip,
            self.app,
            self._server(name),
            address,
            from_email=self.request.from_email,
            through_worker=any(link.name == "workers" and link.outcome is Outcome.OK for link in self.found),
            timeout_seconds=self.request.timeout_seconds,
            terminal=terminal,
        )
        return guarded(ROUND_TRIP, send)

    def _has_failed(self, name: str) -> bool:
        return any(link.name == name and link.outcome is Outcome.FAILED for link in self.found)

    def _note(self, link: Link) -> Link:
        shown = hide_secrets(link, self._secrets)
        self.found.append(shown)
        return shown
