"""A genro-mail-proxy for tests, over real HTTP and without any server to install: `FakeProxy`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from celery_mailproxy.testing.fake.commands import CommandsDialect
from celery_mailproxy.testing.fake.commands_06 import Commands06Dialect
from celery_mailproxy.testing.fake.delivery import FakeDelivery
from celery_mailproxy.testing.fake.dialect import Answer, Dialect, Request
from celery_mailproxy.testing.fake.entities import EntitiesDialect
from celery_mailproxy.testing.fake.http import Failure, FakeHTTPServer, RecordedRequest
from celery_mailproxy.testing.fake.records import FakeRecords, now_ts, recipients_of
from celery_mailproxy.testing.fake.v1 import V1Dialect
from celery_mailproxy.testing.outcomes import Step, report_entry
from celery_mailproxy.testing.ports import free_port
from celery_mailproxy.testing.proxy_admin import API, Profile, ProxyAdmin

if TYPE_CHECKING:
    # Python 3.10 has no typing.Self.
    from typing_extensions import Self

__all__ = ["FakeProxy"]

_DIALECTS: dict[Profile, type[Dialect]] = {
    "commands-0.5": CommandsDialect,
    "commands-0.6": Commands06Dialect,
    "entities": EntitiesDialect,
    "v1": V1Dialect,
}


class FakeProxy(ProxyAdmin):
    """Answers like the real proxy, reports like the real proxy, and sends no mail. Enter it to start it.

    Args:
        api: `"entities"` (genro-mail-proxy 0.7.0), `"commands"` or `"commands-0.5"` (0.5.0), `"commands-0.6"` (0.5.8 to
            0.6.10) or `"v1"` (the line in development, below `/mailproxy/v1`).
        api_token: its admin token; by default a random one.
        port: its port; by default a free one.
        reports: post reports by itself. False: they wait for `send_reports()`.
        report_before_answer: post the reports of a submission before answering it, as a fast proxy may.
        batch_size: how many entries one report may hold.
        resend_seconds: after how long a report that was not acknowledged (2xx) comes again; the real one: 300.
        report_timeout_seconds: how long an answer to a report may take; the real one: 300.

    It has a tenant `tenant_id` and an account `account_id` from the start; `report_to(url)` says where the reports
    go. Further ones come with `add_tenant` and `add_account`, as with the real proxy. A mail is sent at once unless
    `plan` says otherwise.

    Attributes: those of `ProxyAdmin`; `port`, `tenant_id`, `account_id`; `repeat_reports` (how often each batch is
    posted) and `reverse_reports` may be set at any time.

        with FakeProxy() as proxy:
            proxy.report_to("http://127.0.0.1:9100", bearer_token="secret")
            proxy.plan("bad@example.com", error("550 no such user"))
    """

    tenant_id = "test-tenant"
    account_id = "test-account"

    def __init__(
        self,
        api: API = "entities",
        *,
        api_token: str | None = None,
        port: int | None = None,
        reports: bool = True,
        report_before_answer: bool = False,
        batch_size: int = 10_000,
        resend_seconds: float = 0.5,
        report_timeout_seconds: float = 30.0,
    ) -> None:
        self.api = api
        self.token = api_token or secrets.token_urlsafe(16)
        self.port = port or free_port()
        self.report_before_answer = report_before_answer
        self._records = FakeRecords(self.profile)
        self._records.add_tenant({"id": self.tenant_id})
        account = {"id": self.account_id, "tenant_id": self.tenant_id, "host": "127.0.0.1", "port": 25}
        self._records.accounts[self._records.key(self.tenant_id, self.account_id)] = account
        self._delivery = FakeDelivery(
            self._records,
            batch_size=batch_size,
            resend_seconds=resend_seconds,
            timeout_seconds=report_timeout_seconds,
        )
        self._delivery.automatic = reports
        self._dialect = _DIALECTS[self.profile](self._records, self._delivery, self.token)
        self._server: FakeHTTPServer | None = None
        self._requests: list[RecordedRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start to listen, and to report."""
        self._server = FakeHTTPServer(self.port, self._answer, self.submit_path, self._requests)
        self._delivery.start()

    def stop(self) -> None:
        """Close everything. It cannot be started again; see `down`."""
        self._close_http()
        if self._server is not None:
            self._server.stop()
            self._server = None
            self._delivery.stop()

    # What was submitted

    @property
    def received(self) -> list[dict[str, Any]]:
        """Every message that was submitted, in order, as it came: repeated and refused ones too."""
        with self._records.lock:
            return list(self._records.received)

    @property
    def delivered(self) -> list[dict[str, Any]]:
        """The messages that an SMTP server would have got, in order, each as often as it was sent."""
        with self._records.lock:
            return list(self._records.delivered)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request, in order of their answers."""
        return list(self._requests)

    @property
    def pending_reports(self) -> list[dict[str, Any]]:
        """The entries that no tenant has acknowledged yet, in order."""
        with self._records.lock:
            return [event.entry for events in self._records.pending.values() for event in events]

    # Its outcome

    def plan(self, match: str | Callable[[dict[str, Any]], bool], *steps: Step) -> None:
        """Plan the outcome of the messages that match: these steps; none at all means silence.

        Args:
            match: a message id, an address among its recipients, or a function of the message.
            steps: from `celery_mailproxy.testing.outcomes`: `sent()`, `error(...)`, `deferred(...)`, `bounced(...)`,
                `pec(...)`. A later plan goes before an earlier one.
        """

        def matching_steps(message: dict[str, Any]) -> Sequence[Step] | None:
            return steps if _matches(match, message) else None

        with self._records.lock:
            self._records.plans.append(matching_steps)

    # Reports

    def report_to(
        self,
        url: str,
        *,
        sync_path: str | None = None,
        bearer_token: str | None = None,
        basic_auth: tuple[str, str] | None = None,
    ) -> None:
        """Send the reports of `tenant_id` to this URL (the receiver's base, without the path)."""
        self.add_tenant(
            self.tenant_id,
            client_base_url=url,
            sync_path=sync_path,
            bearer_token=bearer_token,
            basic_auth=basic_auth,
        )

    @property
    def repeat_reports(self) -> int:
        """How often each batch is posted."""
        return self._delivery.repeat

    @repeat_reports.setter
    def repeat_reports(self, times: int) -> None:
        self._delivery.repeat = times

    @property
    def reverse_reports(self) -> bool:
        """Whether the entries of a batch are in reverse order."""
        return self._delivery.reverse

    @reverse_reports.setter
    def reverse_reports(self, reverse: bool) -> None:
        self._delivery.reverse = reverse

    def send_reports(self, *, tenant_id: str | None = None, repeat: int = 1, reverse: bool = False) -> int:
        """Post the pending reports now and wait for the answers.

        Returns how many entries were acknowledged; the others stay pending. `repeat` posts each batch so many times.
        """
        self._delivery.take_steps()
        return self._delivery.post_pending(tenant_id=tenant_id, repeat=repeat, reverse=reverse)

    def report(self, *entries: dict[str, Any], tenant_id: str | None = None) -> httpx.Response:
        """Post one report with these entries, whatever they are, and return the answer.

        Nothing that is pending changes: this is for entries that are repeated, reordered, malformed or foreign.
        """
        return self._delivery.post(tenant_id or self.tenant_id, entries)

    def entry(self, message_id: str, step: Step, *, timestamp: int | None = None) -> dict[str, Any]:
        """The report entry for one step of one message, as this release writes it, for `report`.

        Raises:
            ValueError: this release never reports such a step.
        """
        entry = report_entry(self.profile, message_id, step, now_ts() if timestamp is None else timestamp)
        if entry is None:
            raise ValueError(f"genro-mail-proxy 0.5.0 reports sent and error only, got {step.kind!r}")
        return entry

    # Failures

    def fail_next(
        self,
        count: int = 1,
        *,
        status: int = 503,
        retry_after_seconds: int | None = None,
        accepted: bool = False,
        any_request: bool = False,
    ) -> None:
        """Answer the next submissions of messages (or `any_request`) with this status.

        `accepted`: the messages are taken all the same.
        """
        headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
        failure = Failure(status=status, headers=headers, accepted=accepted, any_request=any_request)
        self._running().failures.extend([failure] * count)

    def lose_next_answer(
        self, count: int = 1, *, hang_seconds: float = 0.0, accepted: bool = True, any_request: bool = False
    ) -> None:
        """Take the next submissions, but close the connection without an answer, after `hang_seconds`."""
        failure = Failure(status=None, accepted=accepted, hang_seconds=hang_seconds, any_request=any_request)
        self._running().failures.extend([failure] * count)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse all connections within the block; what the proxy knows is kept."""
        self._close_http()
        self._running().stop()
        try:
            yield
        finally:
            self._server = FakeHTTPServer(self.port, self._answer, self.submit_path, self._requests)

    def _running(self) -> FakeHTTPServer:
        if self._server is None:
            raise RuntimeError("the fake proxy is not running: enter it, or call start()")
        return self._server

    def _answer(self, request: Request) -> Answer:
        answer = self._dialect.answer(request)
        if self.report_before_answer and request.path == self.submit_path:
            self.send_reports()
        return answer


def _matches(match: str | Callable[[dict[str, Any]], bool], message: dict[str, Any]) -> bool:
    if callable(match):
        return match(message)
    if match == message.get("id"):
        return True
    for addresses in recipients_of(message):
        for address in addresses if isinstance(addresses, list) else [addresses]:
            # Also in `Jane Doe <jane@example.com>`.
            if match == address or f"<{match}>" in str(address):
                return True
    return False
