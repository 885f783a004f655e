"""Asking what became of mails, on every proxy: see `outcomes.reconciling.Reconciler`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from celery_mailproxy.conf.settings import ServerSettings
from celery_mailproxy.deliveries.delivery import Delivery, Status
from celery_mailproxy.deliveries.recording import Verdict
from celery_mailproxy.deliveries.report import DeliveryReport, Kind, parse_entry, utcnow
from celery_mailproxy.deliveries.stores import DeliveryStore, Retention
from celery_mailproxy.deliveries.stores.memory import MemoryStore
from celery_mailproxy.dispatch.keeping import ReportKeeper
from celery_mailproxy.dispatch.recorder import OutcomeRecorder
from celery_mailproxy.errors import ProxyRequestError
from celery_mailproxy.mail.message import MailMessage
from celery_mailproxy.mail.payload import encode
from celery_mailproxy.outcomes.asking import Asker
from celery_mailproxy.outcomes.reconciling import UNKNOWN, Reconciler
from celery_mailproxy.outcomes.tally import Tally
from celery_mailproxy.outcomes.withdrawing import Withdrawer
from celery_mailproxy.proxy.api import SubmitAnswer
from celery_mailproxy.proxy.client import ProxyClient
from celery_mailproxy.proxy.held import HeldMessage, HeldState
from celery_mailproxy.tasks.sending.outgoing import Outgoing

from ..harness.proxy_tenant import ProxyTenant
from ..harness.report_sink import ReportSink
from ..harness.waiting import wait_until
from .proxies import PROXIES, AnyProxy, future, new_proxy

OVERDUE = 100.0

CONTENT = {"subject": "Hello", "body": "Hello", "from_email": "a@example.com", "to": ["to@example.com"]}


@pytest.fixture(scope="module", params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    with new_proxy(request.param) as proxy:
        yield proxy


class Watch:
    """A clock that shows the time, and can be set ahead: the proxies go by the real one."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utcnow() + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)


@dataclass
class Desk:
    """A store whose application never hears of the proxy's reports, and who asks for them."""

    tenant: ProxyTenant
    client: ProxyClient
    clock: Watch = field(default_factory=Watch)
    dispatched: list[DeliveryReport] = field(default_factory=list)
    content: dict[str, Outgoing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store: DeliveryStore = MemoryStore(Retention(overdue_seconds=OVERDUE), clock=self.clock)

    def reconciler(self, client: ProxyClient | None = None, **options: Any) -> Reconciler:
        def client_for(server: str) -> ProxyClient:
            return client or self.client

        def postpone(reports: Sequence[DeliveryReport], **arguments: Any) -> None:
            self.dispatched += reports

        asker = Asker(client_for)
        return Reconciler(
            store=self.store,
            retention=Retention(overdue_seconds=OVERDUE),
            asker=asker,
            recorder=OutcomeRecorder(
                keeper=ReportKeeper(self.store, hold_seconds=300), postpone=postpone, chunk_size=10
            ),
            withdrawer=Withdrawer(asker=asker, client_for=client_for),
            content_of=lambda delivery: self.content.get(delivery.message_id),
            resubmit=self._resubmit,
            clock=self.clock,
            **options,
        )

    def _resubmit(self, out: Outgoing, delivery: Delivery) -> SubmitAnswer:
        place = {"tenant_id": delivery.tenant_id, "account_id": delivery.account_id}
        payload = {**{name: value for name, value in place.items() if value}, **encode(out.message)}
        try:
            return self.client.submit([payload])
        except ProxyRequestError as exc:
            return SubmitAnswer(failed={delivery.message_id: exc})

    def reconcile(self, client: ProxyClient | None = None, **options: Any) -> Tally:
        tally = self.reconciler(client, **options).run()
        assert tally is not None
        return tally

    def keep(self, name: str, **fields: Any) -> str:
        """Remember a mail as one that the proxy has taken."""
        message_id = self.tenant.message_id(name)
        now = self.clock()
        values: dict[str, Any] = {"tenant_id": self.tenant.id, "account_id": self.tenant.account_id, **fields}
        self.store.register([Delivery(message_id=message_id, created_at=now, updated_at=now, **values)])
        queued = DeliveryReport(kind=Kind.QUEUED, message_id=message_id, at=now)
        self.store.record([queued], claim="submitter")
        return message_id

    def submit(
        self, name: str, to: str = "to@example.com", *, kept: dict[str, Any] | None = None, **fields: Any
    ) -> str:
        answer = self.client.submit([self.tenant.message(name, to, **fields)])
        assert answer.accepted == (self.tenant.message_id(name),)
        return self.keep(name, **(kept or {}))

    def held(self, message_id: str) -> HeldMessage | None:
        found, _ = self.client.look_up(self.tenant.id, [message_id])
        return found.get(message_id)

    def wait_ended(self, *message_ids: str) -> None:
        def ended() -> bool:
            held = [self.held(each) for each in message_ids]
            return all(each is not None and each.state is not HeldState.PENDING for each in held)

        wait_until(ended, f"the end of {message_ids}")

    def status(self, message_id: str) -> Status:
        delivery = self.store.get(message_id)
        assert delivery is not None
        return delivery.status

    def kinds(self, message_id: str) -> list[Kind]:
        return [each.kind for each in self.dispatched if each.message_id == message_id]


@pytest.fixture
def new_client(proxy: AnyProxy) -> Iterator[Callable[..., ProxyClient]]:
    clients: list[ProxyClient] = []

    def make(**fields: Any) -> ProxyClient:
        values: dict[str, Any] = {"url": proxy.url, "token": proxy.token, "timeout_seconds": 30.0, **fields}
        clients.append(ProxyClient(ServerSettings(name="default", **values)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def desk(tenant: ProxyTenant, new_client: Callable[..., ProxyClient]) -> Desk:
    return Desk(tenant, new_client())


def test_ends_that_were_never_reported_are_found_out_and_dispatched_once(desk: Desk, report_sink: ReportSink) -> None:
    sent, spam = desk.submit("m"), desk.submit("spam", "spam@example.com")
    waiting = desk.submit("waiting", deferred_ts=future())
    desk.wait_ended(sent, spam)
    assert desk.reconcile() == Tally()
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally(looked_at=3, sent=1, error=1, open=1)
    assert desk.kinds(sent) == [Kind.SENT]
    assert desk.kinds(spam) == [Kind.ERROR]
    (refused,) = [each for each in desk.dispatched if each.message_id == spam]
    assert "5.7.1 message refused" in str(refused.reason)
    assert [desk.status(each) for each in (sent, spam, waiting)] == [Status.SENT, Status.ERROR, Status.QUEUED]
    assert desk.reconcile() == Tally()

    # The proxy's own reports come after all.
    mine = {sent, spam}

    def late() -> list[DeliveryReport]:
        entries = [each for each in report_sink.wait_for_reports(0) if each["id"] in mine]
        return [report for each in entries for report in parse_entry(each) if report.kind is not Kind.DEFERRED]

    wait_until(lambda: {each.message_id for each in late()} == mine, "the proxy's reports")
    verdicts = {each.verdict for each in desk.store.record(late(), claim="late")}
    assert verdicts <= {Verdict.DUPLICATE, Verdict.STALE, Verdict.HELD}


def test_a_mail_that_the_proxy_does_not_know_is_given_up_once_it_is_overdue(desk: Desk) -> None:
    lost = desk.keep("lost")
    # Also before it is overdue: a mail may have been submitted a moment ago.
    assert desk.reconcile() == Tally()
    desk.clock.advance(OVERDUE - 5)
    assert desk.reconcile() == Tally()
    desk.clock.advance(10)
    assert desk.reconcile() == Tally(looked_at=1, unknown=1)
    delivery = desk.store.get(lost)
    assert delivery is not None
    assert (delivery.status, delivery.reason) == (Status.ERROR, UNKNOWN)
    assert desk.kinds(lost) == [Kind.ERROR]


def test_a_mail_that_the_proxy_has_lost_is_submitted_again_where_its_content_is_at_hand(desk: Desk) -> None:
    lost = desk.keep("lost")
    desk.content[lost] = Outgoing(message=MailMessage.from_arguments(CONTENT, message_id=lost), callbacks={})
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally(looked_at=1, resubmitted=1)
    desk.wait_ended(lost)
    assert desk.reconcile() == Tally()
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally(looked_at=1, sent=1)
    assert desk.kinds(lost) == [Kind.SENT]


def test_a_mail_that_is_refused_the_second_time_is_given_up(desk: Desk) -> None:
    # A mail without an account is refused by all of them.
    lost = desk.keep("lost", account_id=None)
    desk.content[lost] = Outgoing(message=MailMessage.from_arguments(CONTENT, message_id=lost), callbacks={})
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally(looked_at=1, unknown=1)
    assert desk.status(lost) is Status.ERROR


def test_trouble_with_the_proxy_ends_no_mail(desk: Desk, new_client: Callable[..., ProxyClient]) -> None:
    lost = desk.keep("lost")
    desk.clock.advance(OVERDUE + 1)
    strangers = new_client(token="wrong", api=desk.client.api.name)
    assert desk.reconcile(strangers) == Tally(looked_at=1, unanswered=1)
    away = new_client(url="http://127.0.0.1:9", api=desk.client.api.name)
    assert desk.reconcile(away) == Tally()
    desk.clock.advance(OVERDUE)
    assert desk.reconcile(away) == Tally(looked_at=1, unanswered=1)
    assert (desk.status(lost), desk.dispatched) == (Status.QUEUED, [])


def test_a_mail_that_stays_open_is_named_once(desk: Desk) -> None:
    open_id = desk.submit("open", deferred_ts=future())
    # As if the proxy had been to send it for some time.
    desk.clock.advance(3600)
    for _ in range(3):
        desk.clock.advance(OVERDUE + 1)
        assert desk.reconcile() == Tally(looked_at=1, open=1)
        # What was asked for is asked for again only later, and by another process neither.
        assert desk.reconcile() == Tally()
    assert desk.kinds(open_id) == [Kind.OVERDUE]
    assert desk.status(open_id) is Status.QUEUED


def test_a_mail_whose_time_has_not_come_is_not_overdue(desk: Desk) -> None:
    scheduled = desk.submit("scheduled", deferred_ts=future())
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally(looked_at=1, open=1)
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile() == Tally()
    desk.clock.advance(3600)
    assert desk.reconcile() == Tally(looked_at=1, open=1)
    assert desk.kinds(scheduled) == [Kind.OVERDUE]


def test_an_expired_mail_is_taken_out_of_the_queue_unless_it_was_sent(desk: Desk) -> None:
    kept = {"expires_at": desk.clock() + timedelta(seconds=1)}
    sent = desk.submit("sent", kept=kept)
    scheduled = desk.submit("scheduled", deferred_ts=future(), kept=kept)
    desk.wait_ended(sent)
    desk.clock.advance(2)
    assert desk.reconcile() == Tally(looked_at=2, sent=1, expired=1)
    assert desk.kinds(sent) == [Kind.SENT]
    assert desk.kinds(scheduled) == [Kind.EXPIRED]
    assert desk.held(scheduled) is None


def test_an_expired_mail_that_the_proxy_may_be_sending_is_left_to_it(desk: Desk) -> None:
    message_id = desk.submit("m", deferred_ts=future(), kept={"expires_at": desk.clock() + timedelta(seconds=1)})
    # As if its time had come.
    desk.clock.advance(3600)
    assert desk.reconcile() == Tally(looked_at=1, open=1)
    assert desk.status(message_id) is Status.QUEUED
    assert desk.held(message_id) is not None
    desk.clock.advance(61)
    assert desk.reconcile() == Tally(looked_at=1, open=1)


def test_with_push_only_expired_mails_are_looked_at(desk: Desk) -> None:
    expired = desk.submit("m", deferred_ts=future(), kept={"expires_at": desk.clock() + timedelta(seconds=1)})
    lost = desk.keep("lost")
    desk.clock.advance(OVERDUE + 1)
    assert desk.reconcile(asks=False) == Tally(looked_at=1, expired=1)
    assert (desk.status(expired), desk.status(lost)) == (Status.EXPIRED, Status.QUEUED)
    assert desk.reconcile(asks=False) == Tally()
